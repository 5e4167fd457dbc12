//! How much of a recipient's own is restored, as an email says it. This module does no I/O.

use crate::audience::Reason;
use crate::base::language::Language;
use crate::base::text::undirected;
use crate::notice::template::{MailRecovery, MailResource};
use crate::words::Texts;

/// Returns how many of the resources are restored. `None` if the incident has no recovery states, or if there are no resources.
pub(super) fn of(reasons: &[Reason], resources: &[MailResource], language: Language) -> Option<MailRecovery> {
    if resources.is_empty() || !reasons.iter().any(|reason| reason.recovery.is_some()) {
        return None;
    }
    let affected = resources.len();
    let restored = resources.iter().filter(|resource| resource.restored).count();
    let same = resources.windows(2).all(|pair| pair[0].type_ == pair[1].type_);
    let type_ = resources
        .first()
        .filter(|_| same)
        .map(|first| first.type_.as_str());
    Some(MailRecovery {
        restored: language.number(restored),
        affected: language.number(affected),
        left: match affected - restored {
            0 => String::new(),
            left => language.number(left),
        },
        summary: undirected(&restored_so_far(restored, affected, type_, language)).into_owned(),
    })
}

/// Returns the sentence that says how many resources are restored. Without a type, they are of several types.
fn restored_so_far(restored: usize, affected: usize, type_: Option<&str>, language: Language) -> String {
    let texts = Texts::of_phrases();
    let thing = match type_ {
        Some(type_) if language == Language::En => type_,
        _ => texts.text("thing", language).unwrap_or_default(),
    };
    let (things, all) = (things(type_, language), language.number(affected));
    let values = [("thing", thing), ("things", things.as_str()), ("all", &all)];
    let key = match (restored, affected) {
        (0, 1) => "recovery_one_not",
        (1, 1) => "recovery_one",
        (0, _) => "recovery_none",
        _ if restored == affected => "recovery_all",
        _ => return texts.counted("recovery_some", language, restored, &values),
    };
    texts.with(key, language, &values)
}

/// Returns the word for several resources of a type, or of several types. The types are words of the installation, so only English, the
/// language of the installation, uses them.
pub(super) fn things(type_: Option<&str>, language: Language) -> String {
    match type_ {
        Some(type_) if language == Language::En => plural(type_),
        _ => Texts::of_phrases().with("things", language, &[]),
    }
}

/// Returns the plural of a type, as far as it can be known.
fn plural(word: &str) -> String {
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
            assert_eq!(
                restored_so_far(restored, affected, Some("file"), Language::En),
                said
            );
        }
        assert_eq!(
            restored_so_far(1, 1_507, Some("file"), Language::De),
            "1 Ihrer 1.507 betroffenen Ressourcen ist bisher wiederhergestellt."
        );
        assert_eq!(
            restored_so_far(0, 2, None, Language::En),
            "None of your 2 affected resources is restored yet."
        );
    }
}
