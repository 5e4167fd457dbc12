//! The helper with which Candor's own partials show a text of several lines in HTML. Some email programs ignore the style that
//! keeps line breaks, so each becomes a `<br>`. A template of an operator cannot use it.

use handlebars::{
    Context, Handlebars, Helper, HelperDef, HelperResult, Output, RenderContext, RenderErrorReason,
};

/// The name of the helper.
pub(super) const NAME: &str = "breaks";

/// Shows its text, escaped for HTML, with `<br>` for each line break.
pub(super) struct Breaks;

impl HelperDef for Breaks {
    fn call<'reg: 'rc, 'rc>(
        &self,
        helper: &Helper<'rc>,
        _: &'reg Handlebars<'reg>,
        _: &'rc Context,
        _: &mut RenderContext<'reg, 'rc>,
        out: &mut dyn Output,
    ) -> HelperResult {
        let text = helper
            .param(0)
            .and_then(|value| value.value().as_str())
            .ok_or(RenderErrorReason::ParamNotFoundForIndex(NAME, 0))?;
        for (index, line) in text.lines().enumerate() {
            if index > 0 {
                out.write("<br>")?;
            }
            out.write(&handlebars::html_escape(line))?;
        }
        Ok(())
    }
}
