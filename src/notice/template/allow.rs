//! What a template may hold, judged by what the parser made of it: every element is on a list, or the template is
//! refused. What the parser will understand in a later version is refused too, until it is added here.

use handlebars::template::{BlockParam, DecoratorTemplate, HelperTemplate, Parameter, TemplateElement};
use handlebars::{Path, PathSeg, Template};

use super::fields::{self, Shape};
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
        scopes: vec![if ours { Shape::Unknown } else { Shape::Mail }],
    }
    .template(template)
}

struct Walk {
    html: bool,
    ours: bool,
    /// Names that blocks around gave (`as |name|`).
    params: Vec<(String, Shape)>,
    /// What `this` is, here and in the blocks around.
    scopes: Vec<Shape>,
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
                Parameter::Name(name) => self.name(name, self.scope()),
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
        let value = block
            .params
            .first()
            .map_or(Shape::Unknown, |value| self.shape(value));
        let scope = match name {
            "each" => value.element(),
            "with" => value,
            _ => self.scope(),
        };
        let before = self.params.len();
        match &block.block_param {
            Some(BlockParam::Single(one)) => self.params.push((text(one).to_owned(), scope)),
            Some(BlockParam::Pair((one, two))) => {
                self.params.push((text(one).to_owned(), scope));
                self.params.push((text(two).to_owned(), Shape::Plain));
            }
            _ => {}
        }
        if let Some(part) = &block.template {
            // These two give their body a context of its own, which `..` leaves.
            let own = matches!(name, "each" | "with");
            self.within(scope, own, part)?;
        }
        if let Some(part) = &block.inverse {
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
        let scope = match partial.params.first() {
            Some(given) => self.shape(given),
            None => self.scope(),
        };
        match &partial.template {
            Some(block) => self.within(scope, true, block),
            None => Ok(()),
        }
    }

    /// What `this` is here.
    fn scope(&self) -> Shape {
        self.scopes.last().copied().unwrap_or(Shape::Unknown)
    }

    /// Checks a body whose `this` is something else, if it has a context of its own.
    fn within(&mut self, scope: Shape, own: bool, body: &Template) -> Result<(), String> {
        if own {
            self.scopes.push(scope);
        }
        self.template(body)?;
        if own {
            self.scopes.pop();
        }
        Ok(())
    }

    /// What a value is, as far as is known.
    fn shape(&self, parameter: &Parameter) -> Shape {
        match parameter {
            Parameter::Name(name) => self.step(None, name),
            Parameter::Path(Path::Relative((segments, raw))) => {
                let (start, names) = self.start(segments, raw);
                names
                    .iter()
                    .fold(start, |shape, name| Some(self.step(shape, name)))
                    .unwrap_or_else(|| self.scope())
            }
            _ => Shape::Unknown,
        }
    }

    /// Where a path begins, if it says so, and the names that follow. `raw` is the path as it was written.
    fn start<'p>(&self, segments: &'p [PathSeg], raw: &str) -> (Option<Shape>, Vec<&'p str>) {
        let names = segments.iter().filter_map(|segment| match segment {
            PathSeg::Named(name) => Some(name.as_str()),
            _ => None,
        });
        let up = raw.matches("..").count();
        let start = if raw.starts_with("@root") {
            Some(Shape::Mail)
        } else if up > 0 {
            let around = self.scopes.len().checked_sub(up + 1);
            Some(around.map_or(Shape::Unknown, |index| self.scopes[index]))
        } else {
            None
        };
        (start, names.collect())
    }

    /// What a name is within an object; without one, within `this` or as the name that a block gave.
    fn step(&self, within: Option<Shape>, name: &str) -> Shape {
        match within {
            Some(shape) => shape.field(name),
            None => match self.params.iter().rev().find(|(param, _)| param == name) {
                Some((_, shape)) => *shape,
                None if name == "this" => self.scope(),
                None => self.scope().field(name),
            },
        }
    }

    fn parameter(&mut self, parameter: &Parameter) -> Result<(), String> {
        match parameter {
            Parameter::Literal(_) => Ok(()),
            Parameter::Name(name) => self.name(name, self.scope()),
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
            Parameter::Path(Path::Relative((segments, raw))) => {
                let (mut within, names) = self.start(segments, raw);
                names.into_iter().try_for_each(|name| {
                    self.name(name, within.unwrap_or_else(|| self.scope()))?;
                    within = Some(self.step(within, name));
                    Ok(())
                })
            }
            Parameter::Subexpression(inner) => match inner.as_element() {
                TemplateElement::Expression(shown) => self.shown(shown),
                _ => Err("these brackets hold no value".to_owned()),
            },
            _ => Err("this value is not allowed".to_owned()),
        }
    }

    /// Checks a name. Every name of the email is taken, wherever it stands: whether it exists at this place is what the samples
    /// show. `within` is the object whose field it would be.
    fn name(&self, name: &str, within: Shape) -> Result<(), String> {
        let known = NAMES.contains(&name)
            || name == "this"
            || name.bytes().all(|byte| byte.is_ascii_digit())
            || self.params.iter().any(|(param, _)| param == name);
        if known {
            Ok(())
        } else {
            Err(fields::unknown(name, within))
        }
    }
}

fn text(parameter: &Parameter) -> &str {
    match parameter {
        Parameter::Name(name) => name,
        Parameter::Path(Path::Relative((_, raw)) | Path::Local((_, _, raw))) => raw,
        Parameter::Literal(value) => value.as_str().unwrap_or_default(),
        _ => "",
    }
}
