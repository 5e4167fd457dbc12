//! Checks which elements a template may contain. The check reads the parsed template and refuses every element
//! that is not on a list. An element that a later version of the parser adds is therefore refused until it is
//! added here.

use handlebars::template::{BlockParam, DecoratorTemplate, HelperTemplate, Parameter, TemplateElement};
use handlebars::{Path, PathSeg, Template};

use super::breaks;
use super::fields::{self, Shape};
use super::names::NAMES;
use super::partials::PARTIALS;
use super::sentences::is_sentence;
use super::values::is_key;

/// The helpers that have a block.
const BLOCKS: [&str; 4] = ["if", "unless", "each", "with"];
/// The helpers that return a value.
const VALUES: [&str; 11] = [
    "lookup", "len", "eq", "ne", "gt", "gte", "lt", "lte", "and", "or", "not",
];
/// The variables of a block, without the `@` in front of them.
const LOCALS: [&str; 4] = ["first", "last", "index", "key"];

/// Checks a parsed part of a template. If `html` is set, the part may not contain unescaped output. If `ours` is
/// set, the part is a partial of Candor, which may show the block that it gets.
///
/// # Errors
/// A sentence that says what is not allowed, at which line and column, and often what is allowed instead.
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
    /// The block parameters (`as |name|`) of the enclosing blocks, each with its shape.
    params: Vec<(String, Shape)>,
    /// The shape of `this` in the enclosing blocks. The last one is the shape at the current place.
    scopes: Vec<Shape>,
}

impl Walk {
    fn template(&mut self, template: &Template) -> Result<(), String> {
        for (index, element) in template.elements.iter().enumerate() {
            self.element(element).map_err(|why| {
                // An error of a nested element already contains its line and column.
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
                // A name without arguments could also call a helper, so it must be the name of a variable.
                Parameter::Name(name) => self.name(name, self.scope()),
                other => self.parameter(other),
            };
        }
        let name = text(&shown.name);
        if !(VALUES.contains(&name) || self.ours && name == breaks::NAME) {
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
            // These two helpers give their body its own context. A path with `..` leaves this context.
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

    /// Returns the shape of `this` at the current place.
    fn scope(&self) -> Shape {
        self.scopes.last().copied().unwrap_or(Shape::Unknown)
    }

    /// Checks the body of a block. If `own` is set, the body has its own context, in which `this` has the shape
    /// `scope`.
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

    /// Returns the shape of a value, or `Unknown` if it is known only when the template is rendered.
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

    /// Returns the shape at which a path starts, if it begins with `@root` or contains `..`, and then the names in
    /// the path. `raw` is the path as it was written.
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

    /// Returns the shape of a field of the object `within`. Without an object, the name is a block parameter or a
    /// field of `this`.
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
                _ => Err("there is no value between these brackets".to_owned()),
            },
            _ => Err("this value is not allowed".to_owned()),
        }
    }

    /// Checks a name. Every name of the email is accepted at every place. Rendering the samples shows whether it
    /// exists at this place. For an error, `within` is the object whose field the name would be.
    fn name(&self, name: &str, within: Shape) -> Result<(), String> {
        let known = NAMES.contains(&name)
            || name == "this"
            || within == Shape::Values && is_key(name)
            // What `t` is within a partial is not known before it is rendered.
            || matches!(within, Shape::Sentences | Shape::Unknown) && is_sentence(name)
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
