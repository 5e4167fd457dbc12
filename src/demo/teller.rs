//! Prints the demo: a time, a headline, and lines below it. The output is plain text. Bold and dim text is
//! used only on a terminal.

use std::io::IsTerminal;

/// Writes to the standard output.
pub(super) struct Teller {
    styled: bool,
}

impl Teller {
    pub fn new() -> Self {
        Teller {
            styled: std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
        }
    }

    fn style(&self, code: &str, text: &str) -> String {
        if self.styled {
            format!("\u{1b}[{code}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }

    /// Prints the headline of a step with the time in Nairobi.
    pub fn step(&self, time: &str, headline: &str) {
        println!();
        println!("{}  {}", self.style("36;1", time), self.style("1", headline));
    }

    /// Prints what Candor did or found.
    pub fn fact(&self, text: &str) {
        for (index, line) in wrap(text, 92).into_iter().enumerate() {
            println!(
                "         {} {line}",
                if index == 0 {
                    self.style("32", "·")
                } else {
                    " ".to_owned()
                }
            );
        }
    }

    /// Prints why it matters, or what happened without Candor.
    pub fn aside(&self, text: &str) {
        for line in wrap(text, 92) {
            println!("           {}", self.style("2", &line));
        }
    }

    /// Prints a text unchanged, such as an email.
    pub fn quote(&self, text: &str) {
        for line in text.lines() {
            println!("           {} {line}", self.style("2", "|"));
        }
    }

    /// Prints that something is wrong.
    pub fn alarm(&self, text: &str) {
        println!("         {} {text}", self.style("31;1", "!"));
    }

    /// Prints plain text in lines of at most 100 characters.
    pub fn say(&self, text: &str) {
        for line in wrap(text, 100) {
            println!("{line}");
        }
    }
}

fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let last = lines.len() - 1;
        if !lines[last].is_empty() && lines[last].chars().count() + 1 + word.chars().count() > width {
            lines.push(word.to_owned());
        } else {
            if !lines[last].is_empty() {
                lines[last].push(' ');
            }
            lines[last].push_str(word);
        }
    }
    lines
}
