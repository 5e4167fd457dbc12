//! The limits for rendering one part of an email: bytes of output, and steps.
//!
//! The template engine has no limits of its own. So each body of an `each` begins with a helper of Candor,
//! which reports the number of its elements to the output. The output stops the rendering when all steps are
//! used.

use std::io;

use handlebars::template::TemplateElement;
use handlebars::{
    Context, Handlebars, Helper, HelperDef, HelperResult, Output, RenderContext, RenderError,
    RenderErrorReason, Template,
};

/// The largest number of bytes of one rendered part of an email.
const BYTES: usize = 2 * 1024 * 1024;
/// The largest number of elements that are rendered for one part.
const STEPS: usize = 200_000;

/// The name of the helper. A template cannot use it, because it is not in the list of allowed names.
const STEP: &str = "candor_step";

struct Step;

impl HelperDef for Step {
    fn call<'reg: 'rc, 'rc>(
        &self,
        helper: &Helper<'rc>,
        _: &'reg Handlebars<'reg>,
        _: &'rc Context,
        _: &mut RenderContext<'reg, 'rc>,
        out: &mut dyn Output,
    ) -> HelperResult {
        let steps = helper
            .param(0)
            .and_then(|count| count.value().as_u64())
            .unwrap_or(1);
        for _ in 0..steps {
            // An empty text counts as a step and adds nothing to the output.
            out.write("")?;
        }
        Ok(())
    }
}

/// Makes the templates of a registry count their steps.
///
/// # Errors
/// The error of the template engine. This does not happen for checked templates.
pub(super) fn count_steps(registry: &mut Handlebars<'static>) -> Result<(), String> {
    registry.register_helper(STEP, Box::new(Step));
    let templates: Vec<(String, Template)> = registry
        .get_templates()
        .iter()
        .map(|(name, template)| (name.clone(), template.clone()))
        .collect();
    for (name, mut template) in templates {
        instrument(&mut template)?;
        registry.register_template(&name, template);
    }
    Ok(())
}

/// Adds the steps to the bodies of a template, and returns the number of its elements.
fn instrument(template: &mut Template) -> Result<usize, String> {
    let mut elements = template.elements.len();
    for element in &mut template.elements {
        match element {
            TemplateElement::HelperBlock(block) => {
                let each = matches!(&block.name, handlebars::template::Parameter::Name(name) if name == "each")
                    || matches!(&block.name, handlebars::template::Parameter::Path(handlebars::Path::Relative((_, raw))) if raw == "each");
                if let Some(body) = &mut block.template {
                    let inner = instrument(body)?;
                    elements += inner;
                    if each {
                        let step = Template::compile(&format!("{{{{{STEP} {}}}}}", inner + 1))
                            .map_err(|error| error.to_string())?;
                        for (element, mapping) in step.elements.into_iter().zip(step.mapping).rev() {
                            body.elements.insert(0, element);
                            body.mapping.insert(0, mapping);
                        }
                    }
                }
                if let Some(inverse) = &mut block.inverse {
                    elements += instrument(inverse)?;
                }
            }
            TemplateElement::PartialBlock(partial) => {
                if let Some(body) = &mut partial.template {
                    elements += instrument(body)?;
                }
            }
            // A partial has at most a few dozen elements, and its own lists count their steps themselves.
            TemplateElement::PartialExpression(_) => elements += 20,
            _ => {}
        }
    }
    Ok(elements)
}

/// An output that fails when it gets too many bytes or steps.
#[derive(Default)]
struct Limited {
    bytes: Vec<u8>,
    steps: usize,
}

impl io::Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.steps += 1;
        if self.steps > STEPS {
            return Err(io::Error::other(format!(
                "takes more than {STEPS} steps to render: nest fewer {{{{#each}}}}"
            )));
        }
        if self.bytes.len() + bytes.len() > BYTES {
            return Err(io::Error::other(format!(
                "becomes larger than {BYTES} bytes: nest fewer {{{{#each}}}}"
            )));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The reason why a part could not be rendered.
pub(super) struct Unrendered {
    /// Whether the rendering exceeded a limit. Otherwise the template cannot be filled with these values.
    pub over_limit: bool,
    /// The reason as a sentence for the author of the template.
    pub detail: String,
}

/// Renders a registered template within the limits.
///
/// # Errors
/// The reason why the template could not be rendered.
pub(super) fn render(
    registry: &Handlebars<'static>,
    name: &str,
    context: &Context,
) -> Result<String, Unrendered> {
    let mut out = Limited::default();
    registry
        .render_with_context_to_write(name, context, &mut out)
        .map_err(|error| said(&error))?;
    String::from_utf8(out.bytes).map_err(|error| Unrendered {
        over_limit: false,
        detail: error.to_string(),
    })
}

/// Returns an error of the template engine as a text for the author of the template.
fn in_words(reason: &RenderErrorReason) -> String {
    match reason {
        RenderErrorReason::ParamNotFoundForIndex(helper, index) => format!(
            "value {} of '{helper}' is missing, or is a variable that does not exist at this place",
            index + 1
        ),
        RenderErrorReason::ParamNotFoundForName(helper, name) => {
            format!("the value '{name}' of '{helper}' is missing")
        }
        RenderErrorReason::ParamTypeMismatchForName(helper, name, _)
        | RenderErrorReason::HashTypeMismatchForName(helper, name, _) => {
            format!("the value '{name}' of '{helper}' has the wrong type")
        }
        RenderErrorReason::InvalidParamType(_) => "a value has the wrong type for its helper".to_owned(),
        RenderErrorReason::HelperNotFound(name) | RenderErrorReason::DecoratorNotFound(name) => {
            format!("there is no helper '{name}'")
        }
        RenderErrorReason::PartialNotFound(name) => format!("there is no partial '{name}'"),
        RenderErrorReason::CannotIncludeSelf => "a template must not include itself".to_owned(),
        RenderErrorReason::BlockContentRequired => "the block has no content".to_owned(),
        RenderErrorReason::InvalidJsonIndex(index) => format!("'{index}' is not a position in a list"),
        RenderErrorReason::InvalidJsonPath(path) => format!("'{path}' is not a path to a value"),
        other => other.to_string(),
    }
}

/// Converts an error of the template engine to Candor's error.
fn said(error: &RenderError) -> Unrendered {
    let why = match error.reason() {
        RenderErrorReason::MissingVariable(Some(path)) => super::fields::missing(path),
        RenderErrorReason::IOError(limit) => {
            return Unrendered {
                over_limit: true,
                detail: limit.to_string(),
            };
        }
        RenderErrorReason::NestedError(inner) => match inner.downcast_ref::<RenderError>() {
            Some(inner) => return said(inner),
            None => inner.to_string(),
        },
        other => in_words(other),
    };
    let detail = match (error.line_no, error.column_no) {
        (Some(line), Some(column)) => format!("line {line}, column {column}: {why}"),
        _ => why,
    };
    Unrendered {
        over_limit: false,
        detail,
    }
}
