//! How much of a recipient's own is restored, as an email says it. This module does no I/O.

use crate::audience::Reason;
use crate::base::count::grouped_digits;
use crate::base::text::undirected;
use crate::notice::template::{MailRecovery, MailResource};

/// Returns how many of the resources are restored. `None` if the incident has no recovery states, or if there are no resources.
pub(super) fn of(reasons: &[Reason], resources: &[MailResource]) -> Option<MailRecovery> {
    if resources.is_empty() || !reasons.iter().any(|reason| reason.recovery.is_some()) {
        return None;
    }
    let affected = resources.len();
    let restored = resources.iter().filter(|resource| resource.restored).count();
    let same = resources.windows(2).all(|pair| pair[0].type_ == pair[1].type_);
    let one = match resources {
        [first, ..] if same => first.type_.clone(),
        _ => "resource".to_owned(),
    };
    Some(MailRecovery {
        restored: grouped(restored),
        affected: grouped(affected),
        left: match affected - restored {
            0 => String::new(),
            left => grouped(left),
        },
        summary: undirected(&restored_so_far(restored, affected, &one)).into_owned(),
    })
}

/// Returns the sentence that says how many resources of this type are restored.
fn restored_so_far(restored: usize, affected: usize, type_: &str) -> String {
    let (many, all) = (plural(type_), grouped(affected));
    match (restored, affected) {
        (0, 1) => format!("Your affected {type_} is not restored yet."),
        (1, 1) => format!("Your affected {type_} is restored."),
        (0, _) => format!("None of your {all} affected {many} is restored yet."),
        (1, _) => format!("1 of your {all} affected {many} is restored so far."),
        _ if restored == affected => format!("All of your {all} affected {many} are restored."),
        _ => format!(
            "{} of your {all} affected {many} are restored so far.",
            grouped(restored)
        ),
    }
}

fn grouped(number: usize) -> String {
    grouped_digits(&number.to_string())
}

/// Returns the plural of a type, as far as it can be known.
pub(super) fn plural(word: &str) -> String {
    match word {
        _ if word.ends_with('s') || word == "media" || word == "data" => word.to_owned(),
        _ if word.ends_with('y') && !word.ends_with("ey") && !word.ends_with("ay") => {
            format!("{}ies", &word[..word.len() - 1])
        }
        _ => format!("{word}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_says_how_much_is_restored() {
        for (restored, affected, said) in [
            (0, 1, "Your affected file is not restored yet."),
            (1, 1, "Your affected file is restored."),
            (0, 40, "None of your 40 affected files is restored yet."),
            (1, 40, "1 of your 40 affected files is restored so far."),
            (12, 40, "12 of your 40 affected files are restored so far."),
            (40, 40, "All of your 40 affected files are restored."),
            (
                1_200,
                1_507,
                "1,200 of your 1,507 affected files are restored so far.",
            ),
        ] {
            assert_eq!(restored_so_far(restored, affected, "file"), said);
        }
    }
}
