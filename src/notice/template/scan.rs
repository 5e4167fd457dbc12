//! Scans the text of a template before it is parsed. The parser, the rendering and dropping a parsed template
//! recurse with its nesting, so the nesting is limited first.
//!
//! Only tags with a certain end are accepted. They contain no braces and no backslashes, and their quotes and
//! brackets are closed. So no nesting can be hidden in a text, a string or a comment.

/// The largest depth of nested blocks. Each `else if` of an open block counts as one level, because the
/// parser makes one of it.
pub(super) const DEPTH: usize = 32;
/// The largest depth of nested brackets within one tag.
pub(super) const BRACKETS: usize = 8;
/// The largest number of tags in one part.
pub(super) const TAGS: usize = 2_000;

/// Returns a position in a text for people.
pub(super) fn place(text: &str, position: usize) -> String {
    let before = &text[..position];
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    format!("line {line}, column {column}")
}

struct Open {
    name: String,
    levels: usize,
    position: usize,
}

/// Checks the tags of one part. `html` says whether the part is HTML, where all output must be escaped.
///
/// # Errors
/// A sentence with the line and the column.
pub(super) fn scan(text: &str, html: bool) -> Result<(), String> {
    let mut open: Vec<Open> = Vec::new();
    let mut tags = 0;
    let mut at = 0;
    while let Some(found) = text[at..].find("{{") {
        let start = at + found;
        let wrong = |why: &str| Err(format!("{}: {why}", place(text, start)));
        let rest = &text[start..];
        if text[..start].ends_with('\\') {
            return wrong("a backslash before {{ is not allowed");
        }
        if rest.starts_with("{{{{") {
            return wrong("raw blocks {{{{ … }}}} are not allowed");
        }
        tags += 1;
        if tags > TAGS {
            return wrong(&format!("there are more than {TAGS} tags"));
        }
        let (skip, close) = if rest.starts_with("{{!--") {
            (5, "--}}")
        } else if rest.starts_with("{{{") {
            (3, "}}}")
        } else {
            (2, "}}")
        };
        let Some(length) = rest[skip..].find(close) else {
            return wrong(&format!("this tag is not closed with {close}"));
        };
        let content = &rest[skip..skip + length];
        at = start + skip + length + close.len();
        if rest.starts_with("{{!") {
            continue;
        }
        let tag = content.strip_prefix('~').unwrap_or(content).trim_start();
        if html && (skip == 3 || tag.starts_with(['{', '&'])) {
            return wrong("unescaped output is not allowed in the HTML part; write {{name}}");
        }
        if let Err(why) = check_tag(content) {
            return wrong(&why);
        }
        let name = |tag: &str| -> String {
            tag.trim_start_matches(|c: char| c.is_whitespace() || c == '>')
                .chars()
                .take_while(|c| !c.is_whitespace() && *c != '~')
                .collect()
        };
        if let Some(block) = tag.strip_prefix('#') {
            if block.trim_start().starts_with('*') {
                return wrong("inline partials and decorators are not allowed");
            }
            open.push(Open {
                name: name(block),
                levels: 1,
                position: start,
            });
        } else if let Some(closed) = tag.strip_prefix('/') {
            let closed = name(closed);
            match open.pop() {
                None => return wrong(&format!("{{{{/{closed}}}}} closes a block that is not open")),
                Some(block) if block.name != closed => {
                    return wrong(&format!(
                        "{{{{/{closed}}}}} closes '{}', which was opened at {}",
                        block.name,
                        place(text, block.position)
                    ));
                }
                Some(_) => {}
            }
        } else if tag.starts_with('*') {
            return wrong("inline partials and decorators are not allowed");
        } else if tag.starts_with("else") || tag.starts_with('^') {
            match open.last_mut() {
                Some(block) => block.levels += 1,
                None => return wrong("{{else}} stands outside of a block"),
            }
        }
        if open.iter().map(|block| block.levels).sum::<usize>() > DEPTH {
            return wrong(&format!(
                "blocks nest deeper than {DEPTH} levels (each {{{{else}}}} counts as one)"
            ));
        }
    }
    match open.last() {
        Some(block) => Err(format!(
            "{}: the block '{}' is not closed; add {{{{/{}}}}}",
            place(text, block.position),
            block.name,
            block.name
        )),
        None => Ok(()),
    }
}

/// Checks the text between the braces of a tag.
fn check_tag(content: &str) -> Result<(), String> {
    if content.contains(['{', '}', '\\']) {
        return Err("braces and backslashes are not allowed within a tag".to_owned());
    }
    let mut quote: Option<char> = None;
    let mut bracket = false;
    let mut depth = 0_usize;
    for letter in content.chars() {
        match (letter, quote, bracket) {
            (end, Some(open), _) if end == open => quote = None,
            (_, Some(_), _) => {}
            (']', None, true) => bracket = false,
            ('"' | '\'' | '[' | '(' | ')', None, true) => {
                return Err("quotes and brackets are not allowed within [ and ]".to_owned());
            }
            (_, None, true) => {}
            ('"' | '\'', None, false) => quote = Some(letter),
            ('[', None, false) => bracket = true,
            ('(', None, false) => {
                depth += 1;
                if depth > BRACKETS {
                    return Err(format!("brackets nest deeper than {BRACKETS} levels"));
                }
            }
            (')', None, false) => match depth.checked_sub(1) {
                Some(less) => depth = less,
                None => return Err("a bracket closes that is not open".to_owned()),
            },
            _ => {}
        }
    }
    if quote.is_some() || bracket || depth > 0 {
        return Err("a quote or a bracket is not closed".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_nests_gets_through() {
        let n = 20_000;
        let deep = [
            format!("{}{}", "{{#if what}}".repeat(n), "{{/if}}".repeat(n)),
            format!("{}{}", "{{#each times}}".repeat(33), "{{/each}}".repeat(33)),
            format!("{{{{#if what}}}}{}{{{{/if}}}}", "{{else if what}}".repeat(n)),
            format!("{{{{#if what}}}}{}{{{{/if}}}}", "{{^if what}}".repeat(n)),
            "{{#> layout.html}}".repeat(n),
            format!("{{{{len {}what{}}}}}", "(or ".repeat(n), ")".repeat(n)),
            format!("{{{{len {}{}}}}}", "[".repeat(n), "]".repeat(n)),
            format!("{{{{eq what {}1{}}}}}", "{\"a\":".repeat(n), "}".repeat(n)),
            // These closing tags are in places where they close nothing.
            "{{#if what}}{{!-- {{/if}} --}}".repeat(n),
            "{{#if what}}{{eq what \"{{/if}}\"}}".repeat(n),
            "{{#if what}}\\{{/if}}".repeat(n),
            "{{a [']' ] }} ' ((((".to_owned(),
            "{{this.[\"]}} \"]".to_owned(),
            "{{a \"}}\" (((( ".to_owned(),
            "{{{{raw}}}}{{{{/raw}}}}".to_owned(),
        ];
        for text in deep {
            assert!(scan(&text, false).is_err(), "{}", &text[..text.len().min(80)]);
        }
        assert!(scan(&"{{what}}".repeat(TAGS + 1), false).is_err());
    }

    #[test]
    fn ordinary_templates_pass() {
        for text in [
            "{{#if (or what (not times))}}a{{else if optional}}b{{else}}c{{/if}}",
            "{{~#each resources as |one|~}} {{one.label}} {{~/each~}}",
            "{{#> layout.html}}{{> paragraphs.html}}{{/layout.html}}",
            "{{!-- {{#if}} \" ( --}}{{! x }}a { b } c",
            "{{lookup recipient \"name\"}} {{resources.[0].label}}",
        ] {
            assert_eq!(scan(text, true), Ok(()), "{text}");
        }
        assert_eq!(scan("{{{what}}} {{&what}}", false), Ok(()));
    }

    #[test]
    fn an_error_says_where_it_is() {
        assert_eq!(
            scan("a\n  {{{what}}}", true).unwrap_err(),
            "line 2, column 3: unescaped output is not allowed in the HTML part; write {{name}}"
        );
        assert_eq!(
            scan("{{#if what}}\n{{/each}}", true).unwrap_err(),
            "line 2, column 1: {{/each}} closes 'if', which was opened at line 1, column 1"
        );
    }
}
