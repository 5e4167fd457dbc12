//! Where backups are written, when, and how many are kept.

use std::path::PathBuf;
use std::time::Duration;

use crate::directory::source::cron;

/// The settings of the backups that Candor makes by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupSettings {
    /// The folder that the files are written to.
    pub folder: PathBuf,
    /// When a backup is made: a cron expression in UTC. None if backups are made only when somebody asks.
    pub schedule: Option<String>,
    /// Which backups are kept.
    pub keep: Keep,
    /// Whether each backup of the schedule is also restored into a temporary place and verified.
    pub check: bool,
}

/// Which backups are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// This number of files, the newest ones.
    Files(usize),
    /// The files that are not older than this, and always the newest one.
    Age(Duration),
}

impl Keep {
    /// Parses `14` (files) or `30d` (days).
    ///
    /// # Errors
    /// A sentence for the operator who sets it.
    pub fn parse(text: &str) -> Result<Keep, String> {
        let wrong = || {
            "must be a number of files from 1 to 10000, such as 14, or a number of days from 1d to 3650d, such as 30d".to_owned()
        };
        if let Some(days) = text.strip_suffix('d') {
            let days: u64 = days.trim().parse().map_err(|_| wrong())?;
            return match days {
                1..=3_650 => Ok(Keep::Age(Duration::from_secs(days * 86_400))),
                _ => Err(wrong()),
            };
        }
        match text.parse() {
            Ok(files @ 1..=10_000) => Ok(Keep::Files(files)),
            _ => Err(wrong()),
        }
    }

    /// Returns the rule for people.
    pub fn in_words(self) -> String {
        match self {
            Keep::Files(1) => "the newest file is kept".to_owned(),
            Keep::Files(files) => format!("the newest {files} files are kept"),
            Keep::Age(age) => match age.as_secs() / 86_400 {
                1 => "files of the last day are kept".to_owned(),
                days => format!("files of the last {days} days are kept"),
            },
        }
    }
}

/// Parses the schedule. `off` means that backups are made only when somebody asks.
///
/// # Errors
/// A sentence for the operator who sets it.
pub fn schedule(text: &str) -> Result<Option<String>, String> {
    if text == "off" {
        return Ok(None);
    }
    cron::check(text).map_err(|reason| format!("{reason}; or off"))?;
    Ok(Some(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_a_number_or_an_age() {
        assert_eq!(Keep::parse("14"), Ok(Keep::Files(14)));
        assert_eq!(
            Keep::parse("30d"),
            Ok(Keep::Age(Duration::from_secs(30 * 86_400)))
        );
        for wrong in ["", "0", "d", "0d", "-1", "30h", "1.5", "99999", "99999d"] {
            assert!(Keep::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_schedule_is_a_cron_expression_or_off() {
        assert_eq!(schedule("off"), Ok(None));
        assert_eq!(schedule("0 2 * * *"), Ok(Some("0 2 * * *".to_owned())));
        assert!(schedule("at night").is_err());
    }
}
