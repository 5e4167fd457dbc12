//! The files in the folder of backups: their names, and which of them are removed. Only files with a name of this form are ever
//! touched, so the folder may contain others.

use std::path::{Path, PathBuf};

use super::settings::Keep;
use crate::base::error::{Error, Result};
use crate::base::time::Timestamp;

const START: &str = "candor-";
const END: &str = ".db";
/// The endings of what an interrupted backup leaves.
const UNFINISHED: [&str; 3] = [".part", ".part-wal", ".part-shm"];

/// Returns the name of a backup that is made at this time, such as `candor-20261130T020000.000000Z.db`. The names sort by time.
pub(super) fn name(at: Timestamp) -> String {
    let digits: String = at
        .to_string()
        .chars()
        .filter(|c| !matches!(c, '-' | ':'))
        .collect();
    let (seconds, fraction) = digits
        .trim_end_matches('Z')
        .split_once('.')
        .unwrap_or((digits.trim_end_matches('Z'), ""));
    format!("{START}{seconds}.{fraction:0<6}Z{END}")
}

/// Returns the time in the name of a backup. None if it is not such a name.
fn time(name: &str) -> Option<Timestamp> {
    let text = name.strip_prefix(START)?.strip_suffix(END)?;
    let (date, rest) = (text.get(..8)?, text.get(8..)?.strip_prefix('T')?);
    let (clock, rest) = (rest.get(..6)?, rest.get(6..)?);
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(date) || !digits(clock) {
        return None;
    }
    Timestamp::parse(&format!(
        "{}-{}-{}T{}:{}:{}{rest}",
        &date[..4],
        &date[4..6],
        &date[6..],
        &clock[..2],
        &clock[2..4],
        &clock[4..]
    ))
    .ok()
}

/// Returns the names of the backups in a folder with their times, newest first.
fn backups(folder: &Path) -> Result<Vec<(Timestamp, String)>> {
    let cannot = |error: std::io::Error| Error::Unavailable(format!("{}: {error}", folder.display()));
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(cannot)? {
        let Ok(name) = entry.map_err(cannot)?.file_name().into_string() else {
            continue;
        };
        if let Some(at) = time(&name) {
            found.push((at, name));
        }
    }
    found.sort_unstable();
    found.reverse();
    Ok(found)
}

/// Returns the newest backup in a folder.
///
/// # Errors
/// `NotFound` if there is none. `Unavailable` if the folder cannot be read.
pub fn newest(folder: &Path) -> Result<PathBuf> {
    match backups(folder)?.into_iter().next() {
        Some((_, name)) => Ok(folder.join(name)),
        None => Err(Error::NotFound(format!("a backup in {}", folder.display()))),
    }
}

/// Removes the backups that are not kept, and returns their names. The file `made` stays whatever its age is.
///
/// # Errors
/// `Unavailable` if the folder cannot be read or a file cannot be removed.
pub(super) fn apply(folder: &Path, keep: Keep, made: &str, now: Timestamp) -> Result<Vec<String>> {
    let mut removed = Vec::new();
    for (index, (at, name)) in backups(folder)?.into_iter().enumerate() {
        let goes = match keep {
            Keep::Files(files) => index >= files,
            Keep::Age(age) => at < now.minus(age),
        };
        if goes && name != made {
            let path = folder.join(&name);
            std::fs::remove_file(&path)
                .map_err(|error| Error::Unavailable(format!("{}: {error}", path.display())))?;
            removed.push(name);
        }
    }
    Ok(removed)
}

/// Removes what interrupted backups left. Only the process that makes a backup may call it.
pub(super) fn remove_unfinished(folder: &Path) {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        let Some(start) = UNFINISHED.iter().find_map(|end| name.strip_suffix(end)) else {
            continue;
        };
        if time(&format!("{start}{END}")).is_some() {
            // If it cannot be removed, the next backup tries it again.
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).unwrap()
    }

    #[test]
    fn a_name_contains_its_time() {
        for text in ["2026-11-30T02:00:00Z", "2026-11-30T02:00:00.25Z"] {
            assert_eq!(time(&name(at(text))), Some(at(text)), "{}", name(at(text)));
        }
        for other in [
            "candor.db",
            "candor-1.db",
            "candor-20261130T020000.db.part",
            "x-20261130T020000Z.db",
            "candor-2026é130T020000Z.db",
        ] {
            assert_eq!(time(other), None, "{other}");
        }
    }

    #[test]
    fn only_old_backups_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let days = ["2026-11-27", "2026-11-28", "2026-11-29", "2026-11-30"];
        let names = days.map(|day| name(at(&format!("{day}T02:00:00Z"))));
        let fill = || {
            for name in &names {
                std::fs::write(folder.path().join(name), "x").unwrap();
            }
        };
        std::fs::write(folder.path().join("notes.db"), "x").unwrap();
        std::fs::write(folder.path().join("candor-20261130T020000.000000Z.part"), "x").unwrap();
        let now = at("2026-11-30T02:01:00Z");
        fill();
        let gone = apply(folder.path(), Keep::Files(3), &names[3], now).unwrap();
        assert_eq!(gone, [names[0].clone()]);
        let two_days = Keep::Age(Duration::from_secs(2 * 86_400));
        let gone = apply(folder.path(), two_days, &names[3], now).unwrap();
        assert_eq!(gone, [names[1].clone()]);
        // The one that was just made stays, even if the clock says that it is old.
        let gone = apply(folder.path(), two_days, &names[3], at("2027-11-30T02:01:00Z")).unwrap();
        assert_eq!(gone, [names[2].clone()]);
        assert_eq!(newest(folder.path()).unwrap(), folder.path().join(&names[3]));
        remove_unfinished(folder.path());
        let mut left: Vec<_> = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(left, [names[3].clone(), "notes.db".to_owned()]);
    }
}
