//! Writes a report as Markdown and as an HTML file that needs nothing else and prints well.

use handlebars::html_escape;

use super::stored::{Audience, Report, Section};
use crate::incident::Incident;

/// A part of the text of a section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Block {
    /// A paragraph, which may have several lines.
    Paragraph(String),
    /// A list with bullets: the text of each item.
    List(Vec<String>),
    /// A numbered list: the text of each item, without its number.
    Numbered(Vec<String>),
    /// A table: the head, and the rows.
    Table(Vec<String>, Vec<Vec<String>>),
}

/// Splits the text of a section into its parts. Lines that follow each other and begin with `- `, with a number and a dot, or with `|` are
/// one list or table.
pub fn blocks(text: &str) -> Vec<Block> {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let mut blocks = Vec::new();
    let mut group: Vec<&str> = Vec::new();
    let mut kind = Kind::Empty;
    for line in text.lines().chain([""]) {
        let line = line.trim_end();
        let next = Kind::of(line);
        if next != kind {
            blocks.extend(kind.block(&group));
            group.clear();
        }
        kind = next;
        group.push(line);
    }
    blocks
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Empty,
    Text,
    List,
    Numbered,
    Table,
}

impl Kind {
    fn of(line: &str) -> Kind {
        let line = line.trim_start();
        if line.is_empty() {
            Kind::Empty
        } else if item(line).is_some() {
            Kind::List
        } else if numbered(line).is_some() {
            Kind::Numbered
        } else if line.starts_with('|') && line.ends_with('|') && line.len() > 1 {
            Kind::Table
        } else {
            Kind::Text
        }
    }

    fn block(self, lines: &[&str]) -> Option<Block> {
        if lines.is_empty() {
            return None;
        }
        let texts = |read: fn(&str) -> Option<&str>| -> Vec<String> {
            lines
                .iter()
                .filter_map(|line| read(line.trim_start()))
                .map(str::to_owned)
                .collect()
        };
        Some(match self {
            Kind::Empty => return None,
            Kind::Text => Block::Paragraph(lines.join("\n")),
            Kind::List => Block::List(texts(item)),
            Kind::Numbered => Block::Numbered(texts(numbered)),
            Kind::Table => {
                let mut rows: Vec<Vec<String>> = lines.iter().map(|line| cells(line)).collect();
                let rule = |row: &Vec<String>| {
                    row.iter()
                        .all(|cell| !cell.is_empty() && cell.chars().all(|c| matches!(c, '-' | ':')))
                };
                rows.retain(|row| !rule(row));
                match rows.is_empty() {
                    true => return None,
                    false => {
                        let head = rows.remove(0);
                        Block::Table(head, rows)
                    }
                }
            }
        })
    }
}

fn item(line: &str) -> Option<&str> {
    line.strip_prefix("- ")
        .or_else(|| line.strip_prefix("* "))
        .map(str::trim)
}

fn numbered(line: &str) -> Option<&str> {
    let (number, rest) = line.split_once(". ")?;
    let is_number = (1..=3).contains(&number.len()) && number.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| rest.trim())
}

fn cells(line: &str) -> Vec<String> {
    let line = line.trim();
    let inner = line.strip_prefix('|').unwrap_or(line);
    let inner = inner.strip_suffix('|').unwrap_or(inner);
    // A bar within a cell is written as `\|`.
    let mut cells = vec![String::new()];
    let mut escaped = false;
    for c in inner.chars() {
        match c {
            '\\' if !escaped => {
                escaped = true;
                continue;
            }
            '|' if !escaped => cells.push(String::new()),
            c => {
                if escaped
                    && c != '|'
                    && let Some(cell) = cells.last_mut()
                {
                    cell.push('\\');
                }
                if let Some(cell) = cells.last_mut() {
                    cell.push(c);
                }
            }
        }
        escaped = false;
    }
    cells.iter().map(|cell| cell.trim().to_owned()).collect()
}

/// The lines below the title: which incident it is, when it was, and for whom the report is.
fn facts(report: &Report, incident: &Incident, company: &str) -> Vec<String> {
    let mut facts = vec![format!("{company}, incident {}", incident.number)];
    let end = match incident.resolved_at {
        Some(at) => format!("ended {}", at.for_people(None)),
        None => "not resolved yet".to_owned(),
    };
    facts.push(format!("Began {}, {end}", incident.started_at.for_people(None)));
    facts.push(match (report.audience, report.published_at) {
        (Audience::Internal, _) => format!("Internal, version {}. Do not pass it on.", report.version),
        (Audience::Customer, _) => format!("For affected customers, version {}", report.version),
        (Audience::Public, Some(at)) => format!("Published {}", at.for_people(None)),
        (Audience::Public, None) => format!("Not published, version {}", report.version),
    });
    for correction in &report.corrections {
        facts.push(format!(
            "Corrected {}: {}",
            correction.at.for_people(None),
            correction.note
        ));
    }
    facts
}

/// Returns the heading of a section. For our own team it says who else may read the section.
fn heading(section: &Section, report: &Report) -> String {
    match (report.audience, section.audience) {
        (Audience::Internal, Audience::Internal) => format!("{} (internal)", section.heading),
        (Audience::Internal, Audience::Customer) => format!("{} (for customers)", section.heading),
        (Audience::Internal, Audience::Public) => format!("{} (public)", section.heading),
        _ => section.heading.clone(),
    }
}

/// Writes a text so that Markdown shows it as it is, in one line.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\r' => out.push(' '),
            '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '#' => {
                out.push('\\');
                out.push(c);
            }
            c => out.push(c),
        }
    }
    out
}

/// Returns a report as Markdown.
pub fn markdown(report: &Report, incident: &Incident, company: &str) -> String {
    let mut text = format!("# {}\n\n", plain(&report.title));
    for fact in facts(report, incident, company) {
        text.push_str(&format!("- {}\n", plain(&fact)));
    }
    for section in &report.sections {
        text.push_str(&format!("\n## {}\n", plain(&heading(section, report))));
        for block in blocks(&section.text) {
            text.push('\n');
            match block {
                Block::Paragraph(lines) => {
                    let lines: Vec<String> = lines.lines().map(plain).collect();
                    text.push_str(&lines.join("  \n"));
                    text.push('\n');
                }
                Block::List(items) => {
                    for item in items {
                        text.push_str(&format!("- {}\n", plain(&item)));
                    }
                }
                Block::Numbered(items) => {
                    for (index, item) in items.iter().enumerate() {
                        text.push_str(&format!("{}. {}\n", index + 1, plain(item)));
                    }
                }
                Block::Table(head, rows) => {
                    let line = |cells: &[String]| {
                        let cells: Vec<String> =
                            cells.iter().map(|cell| plain(cell).replace('|', "\\|")).collect();
                        format!("| {} |\n", cells.join(" | "))
                    };
                    text.push_str(&line(&head));
                    text.push_str(&format!("|{}\n", " --- |".repeat(head.len())));
                    for row in rows {
                        text.push_str(&line(&row));
                    }
                }
            }
        }
    }
    text
}

/// The look of the HTML file, on a screen and on paper.
const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;color:#1b2126;max-width:46rem;margin:2rem auto;padding:0 1rem}\
h1{font-size:1.6rem;line-height:1.25;margin:0 0 .5rem}h2{font-size:1.15rem;margin:2rem 0 .5rem;break-after:avoid}\
.facts{color:#5a6570;font-size:.9rem;list-style:none;padding:0;margin:0 0 1.5rem}\
table{border-collapse:collapse;width:100%;font-size:.9rem;margin:.5rem 0}th,td{border:1px solid #dde1e5;padding:.3rem .5rem;\
text-align:left;vertical-align:top;overflow-wrap:anywhere}th{background:#eef0f2}tr{break-inside:avoid}p,li{overflow-wrap:anywhere}\
@page{margin:18mm}@media print{body{font-size:11pt;max-width:none;margin:0;padding:0}th{background:none}}";

/// Returns a report as one HTML file.
pub fn html(report: &Report, incident: &Incident, company: &str) -> String {
    let title = html_escape(&report.title);
    let mut text = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width, \
         initial-scale=1\"><meta name=\"robots\" content=\"noindex\"><title>{title}</title><style>{STYLE}</style></head>\n<body><main>\n\
         <h1 dir=\"auto\">{title}</h1>\n<ul class=\"facts\">"
    );
    for fact in facts(report, incident, company) {
        text.push_str(&format!("<li dir=\"auto\">{}</li>", html_escape(&fact)));
    }
    text.push_str("</ul>\n");
    for section in &report.sections {
        let heading = html_escape(&heading(section, report));
        text.push_str(&format!("<section><h2 dir=\"auto\">{heading}</h2>\n"));
        for block in blocks(&section.text) {
            text.push_str(&of_block(&block));
            text.push('\n');
        }
        text.push_str("</section>\n");
    }
    text.push_str("</main></body></html>\n");
    text
}

/// Returns a part of a section as HTML.
fn of_block(block: &Block) -> String {
    let items = |items: &[String]| -> String {
        items
            .iter()
            .map(|item| format!("<li dir=\"auto\">{}</li>", html_escape(item)))
            .collect()
    };
    match block {
        Block::Paragraph(lines) => {
            let lines: Vec<String> = lines.lines().map(html_escape).collect();
            format!("<p dir=\"auto\">{}</p>", lines.join("<br>"))
        }
        Block::List(all) => format!("<ul>{}</ul>", items(all)),
        Block::Numbered(all) => format!("<ol>{}</ol>", items(all)),
        Block::Table(head, rows) => {
            let cells = |row: &[String], tag: &str| -> String {
                row.iter()
                    .map(|cell| format!("<{tag} dir=\"auto\">{}</{tag}>", html_escape(cell)))
                    .collect()
            };
            let body: String = rows
                .iter()
                .map(|row| format!("<tr>{}</tr>", cells(row, "td")))
                .collect();
            format!(
                "<table><thead><tr>{}</tr></thead><tbody>{body}</tbody></table>",
                cells(head, "th")
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_has_paragraphs_lists_and_tables() {
        let text = "First line\nsecond line\n\n- one\n- two\n1. three\n\n| Time | What |\n|---|---|\n| 10:00 | a \\| b |\nLast";
        let cells = |row: &[&str]| row.iter().map(|cell| (*cell).to_owned()).collect::<Vec<_>>();
        assert_eq!(
            blocks(text),
            [
                Block::Paragraph("First line\nsecond line".to_owned()),
                Block::List(cells(&["one", "two"])),
                Block::Numbered(cells(&["three"])),
                Block::Table(cells(&["Time", "What"]), vec![cells(&["10:00", "a | b"])]),
                Block::Paragraph("Last".to_owned()),
            ]
        );
        assert_eq!(blocks("\n \n"), []);
        assert_eq!(blocks("|---|"), []);
    }

    #[test]
    fn nothing_becomes_markup() {
        let block = Block::Table(vec!["<b>".to_owned()], vec![vec!["a&b".to_owned()]]);
        assert_eq!(
            of_block(&block),
            "<table><thead><tr><th dir=\"auto\">&lt;b&gt;</th></tr></thead><tbody><tr><td dir=\"auto\">a&amp;b</td></tr></tbody></table>"
        );
        assert_eq!(plain("a*b\n# c"), "a\\*b \\# c");
    }
}
