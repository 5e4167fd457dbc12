//! What a template may hold, judged by what the parser made of it: every element is on a list, or the template is
//! refused. What the parser will understand in a later version is refused too, until it is added here.

use handlebars::template::{BlockParam, DecoratorTemplate, HelperTemplate, Parameter, TemplateElement};
use handlebars::{Path, PathSeg, Template};

use super::{NAMES, PARTIALS};

/// Helpers with a block.
const BLOCKS: [&str; 4] = ["if", "unless", "each", "with"];
/// Helpers that give a value.
const VALUES: [&str; 11] = [
    "lookup", "len", "eq", "ne", "gt", "gte", "lt", "lte", "and", "or", "not",
];
/// Variables of a block, after the `@`.
const LOCALS: [&str; 4] = ["first", "last", "index", "key"];

/// Checks a parsed part. `html`: whether nothing may be unescaped. `ours`: whether it is one of our partials, which may
/// show the block that they are given.
///
/// # Errors
/// What is not allowed, with line and column, and what is.
pub(super) fn check(template: &Template, html: bool, ours: bool) -> Result<(), String> {
    Walk {
        html,
        ours,
        params: Vec::new(),
    }
    .template(template)
}

struct Walk {
    html: bool,
    ours: bool,
    /// Names that blocks around gave (`as |name|`).
    params: Vec<String>,
}

impl Walk {
    fn template(&mut self, template: &Template) -> Result<(), String> {
        for (index, element) in template.elements.iter().enumerate() {
            self.element(element).map_err(|why| {
                // What lies deeper has said already where it is.
                match template.mapping.get(index) {
                    Some(at) if !why.starts_with("line ") => {
                        format!("line {}, column {}: {why}", at.0, at.1)
                    }
                    _ => why,
                }
            })?;
        }
        Ok(())
    }

    fn element(&mut self, element: &TemplateElement) -> Result<(), String> {
        match element {
            TemplateElement::RawString(_) | TemplateElement::Comment(_) => Ok(()),
            TemplateElement::Expression(shown) => self.shown(shown),
            TemplateElement::HtmlExpression(_) if self.html => {
                Err("unescaped output is not allowed in the HTML part; write {{name}}".to_owned())
            }
            TemplateElement::HtmlExpression(shown) => self.shown(shown),
            TemplateElement::HelperBlock(block) => self.block(block),
            TemplateElement::PartialExpression(partial) | TemplateElement::PartialBlock(partial) => {
                self.partial(partial)
            }
            _ => Err(
                "this is not allowed; a template may hold {{name}}, {{#if}}, {{#unless}}, {{#each}}, {{#with}}, \
                 {{> partial}} and comments"
                    .to_owned(),
            ),
        }
    }

    fn shown(&mut self, shown: &HelperTemplate) -> Result<(), String> {
        if shown.params.is_empty() && shown.hash.is_empty() {
            return match &shown.name {
                // A name that stands alone may be a helper's.
                Parameter::Name(name) => self.name(name),
                other => self.parameter(other),
            };
        }
        let name = text(&shown.name);
        if !VALUES.contains(&name) {
            return Err(format!(
                "there is no helper '{name}' that gives a value; there are {}",
                VALUES.join(", ")
            ));
        }
        self.parameters(shown)
    }

    fn parameters(&mut self, helper: &HelperTemplate) -> Result<(), String> {
        for parameter in helper.params.iter().chain(helper.hash.values()) {
            self.parameter(parameter)?;
        }
        Ok(())
    }

    fn block(&mut self, block: &HelperTemplate) -> Result<(), String> {
        let name = text(&block.name);
        if !BLOCKS.contains(&name) {
            return Err(format!(
                "there is no block '{name}'; there are {}",
                BLOCKS.join(", ")
            ));
        }
        if block.params.len() != 1 {
            return Err(format!(
                "the block '{name}' needs exactly one value, such as {{{{#{name} resources}}}}"
            ));
        }
        self.parameters(block)?;
        let before = self.params.len();
        match &block.block_param {
            Some(BlockParam::Single(one)) => self.params.push(text(one).to_owned()),
            Some(BlockParam::Pair((one, two))) => {
                self.params.push(text(one).to_owned());
                self.params.push(text(two).to_owned());
            }
            _ => {}
        }
        for part in block.template.iter().chain(&block.inverse) {
            self.template(part)?;
        }
        self.params.truncate(before);
        Ok(())
    }

    fn partial(&mut self, partial: &DecoratorTemplate) -> Result<(), String> {
        let name = match &partial.name {
            Parameter::Subexpression(_) => "(…)",
            other => text(other),
        };
        let known = PARTIALS.iter().any(|(known, _)| *known == name);
        if !(known || self.ours && name == "@partial-block") {
            let known: Vec<&str> = PARTIALS.iter().map(|(known, _)| *known).collect();
            return Err(format!("the partial '{name}' is not one of {}", known.join(", ")));
        }
        for parameter in partial.params.iter().chain(partial.hash.values()) {
            self.parameter(parameter)?;
        }
        partial.template.iter().try_for_each(|block| self.template(block))
    }

    fn parameter(&mut self, parameter: &Parameter) -> Result<(), String> {
        match parameter {
            Parameter::Literal(_) => Ok(()),
            Parameter::Name(name) => self.name(name),
            Parameter::Path(Path::Local((_, name, raw))) => {
                if LOCALS.contains(&name.as_str()) {
                    Ok(())
                } else {
                    Err(format!(
                        "there is no variable '{raw}'; with @ there are @{}",
                        LOCALS.join(", @")
                    ))
                }
            }
            Parameter::Path(Path::Relative((segments, _))) => {
                segments.iter().try_for_each(|segment| match segment {
                    PathSeg::Named(name) => self.name(name),
                    _ => Ok(()),
                })
            }
            Parameter::Subexpression(inner) => match inner.as_element() {
                TemplateElement::Expression(shown) => self.shown(shown),
                _ => Err("these brackets hold no value".to_owned()),
            },
            _ => Err("this value is not allowed".to_owned()),
        }
    }

    fn name(&self, name: &str) -> Result<(), String> {
        let known = NAMES.contains(&name)
            || name == "this"
            || name.bytes().all(|byte| byte.is_ascii_digit())
            || self.params.iter().any(|param| param == name);
        if known { Ok(()) } else { Err(unknown(name)) }
    }
}

/// Says that there is no such variable, which one is close to it, and which there are.
pub(super) fn unknown(name: &str) -> String {
    let close = NAMES
        .iter()
        .map(|known| (distance(name, known), known))
        .min()
        .filter(|(distance, known)| *distance <= 2 && *distance < known.len());
    let meant = close.map_or(String::new(), |(_, known)| format!("; did you mean '{known}'?"));
    format!(
        "there is no variable '{}'{meant} The names are: {}",
        crate::base::text::one_line(name, 60),
        NAMES.join(", ")
    )
}

/// How many letters to change, add or leave out make one word of the other.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (line, letter) in one.chars().take(60).enumerate() {
        let mut before = row[0];
        row[0] = line + 1;
        for (column, second) in other.iter().enumerate() {
            let changed = before + usize::from(letter != *second);
            before = row[column + 1];
            row[column + 1] = changed.min(before + 1).min(row[column] + 1);
        }
    }
    row[other.len()]
}

fn text(parameter: &Parameter) -> &str {
    match parameter {
        Parameter::Name(name) => name,
        Parameter::Path(Path::Relative((_, raw)) | Path::Local((_, _, raw))) => raw,
        Parameter::Literal(value) => value.as_str().unwrap_or_default(),
        _ => "",
    }
}
