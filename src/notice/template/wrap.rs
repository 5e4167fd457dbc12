//! Wraps the lines of a plain text, so that an email program that does not wrap lines shows all of them (RFC 5322 asks for at most 78
//! characters).
//!
//! Each line is wrapped on its own, and only at spaces. So a link stays whole, and the lines of an email can be wrapped one by one.

/// The largest length of a line, in characters.
const WIDTH: usize = 78;
/// The length up to which the beginning of a line counts as the label of what follows, such as `Works for me:` before a link.
const LABEL: usize = 24;

/// Returns the text with no line that is longer than 78 characters, unless it has a word that is, or a link after its label. The continuation of an entry of a
/// list is indented.
pub fn wrapped(text: &str) -> String {
    let mut to = String::with_capacity(text.len() + text.len() / WIDTH + 1);
    for line in text.split_inclusive('\n') {
        // A line of few bytes has few characters.
        if line.len() <= WIDTH {
            to.push_str(line);
            continue;
        }
        let (content, end) = match line.strip_suffix('\n') {
            Some(content) => (content, "\n"),
            None => (line, ""),
        };
        wrap(content, &mut to);
        to.push_str(end);
    }
    to
}

fn wrap(line: &str, to: &mut String) {
    if line.chars().count() <= WIDTH {
        to.push_str(line);
        return;
    }
    let indent = indent(line);
    let mut at = 0;
    for (index, word) in line.split(' ').enumerate() {
        let length = word.chars().count();
        let fits = at + 1 + length <= WIDTH;
        // A link stays with its label, and a word that is too long for any line stays where it is.
        let stays = at <= LABEL && (indent + length > WIDTH || word.contains("://"));
        if index == 0 {
            at = length;
        } else if word.is_empty() && !fits {
            // A space at the end of a full line is not seen.
            continue;
        } else if fits || stays {
            to.push(' ');
            at += 1 + length;
        } else {
            to.push('\n');
            to.extend(std::iter::repeat_n(' ', indent));
            at = indent + length;
        }
        to.push_str(word);
    }
}

/// Returns the number of spaces before the continuation of a line: those before it, and the width of the mark of a list.
fn indent(line: &str) -> usize {
    let bare = line.trim_start_matches(' ');
    let before = line.len() - bare.len();
    let digits = bare.bytes().take_while(u8::is_ascii_digit).count();
    let mark = match bare.get(digits..) {
        Some(rest) if (1..=3).contains(&digits) && rest.starts_with(". ") => digits + 2,
        _ if bare.starts_with("- ") || bare.starts_with("* ") || bare.starts_with("> ") => 2,
        _ => 0,
    };
    (before + mark).min(LABEL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_are_wrapped_at_spaces() {
        let text = "Our systems have detected failures when files of your project are opened. We are sorry for the trouble.\n\n\
                    - Interview with the rangers, Nyota Films: the stored file is empty, and so is its copy\n\
                    12. The second one of the entries that have a number, which is a long one as well, as you see\n";
        let expected = "Our systems have detected failures when files of your project are opened. We\n\
                        are sorry for the trouble.\n\n\
                        - Interview with the rangers, Nyota Films: the stored file is empty, and so is\n  its copy\n\
                        12. The second one of the entries that have a number, which is a long one as\n    well, as you see\n";
        assert_eq!(wrapped(text), expected);
    }

    #[test]
    fn a_link_stays_whole_and_with_its_label() {
        let link = format!(
            "https://incidents.example.com/answers/{}?answer=works",
            "x".repeat(80)
        );
        let label = format!("Works for me: {link}\n");
        assert_eq!(wrapped(&label), label);
        let label = format!("Works for me: https://incidents.example.com/{}\n", "x".repeat(40));
        assert_eq!(wrapped(&label), label);
        let sentence =
            format!("If you want to know more about this, read the page {link} and then write to us.");
        let expected =
            format!("If you want to know more about this, read the page\n{link}\nand then write to us.");
        assert_eq!(wrapped(&sentence), expected);
    }

    #[test]
    fn only_long_lines_change_and_nothing_is_lost() {
        let longest = "x".repeat(200);
        let words = "\u{43f}\u{440}\u{438}\u{432}\u{435}\u{442} ".repeat(20);
        for text in [
            "",
            "\n",
            "short",
            "a  b\n\n  c\n",
            &longest,
            &words,
            "-",
            "- ",
            " ",
        ] {
            let wrapped = wrapped(text);
            let bare = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
            assert_eq!(bare(&wrapped), bare(text));
            if text.lines().all(|line| line.chars().count() <= WIDTH) {
                assert_eq!(wrapped, text);
            }
            let too_long = |line: &str| line.chars().count() > WIDTH && line.contains(' ');
            assert!(!wrapped.lines().any(too_long), "{wrapped}");
            // Wrapping again changes nothing.
            assert_eq!(super::wrapped(&wrapped), wrapped);
        }
    }
}
