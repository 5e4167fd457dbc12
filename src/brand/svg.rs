//! Checks that an SVG only draws: no script, no event handler, no reference to anything outside, no document type. This module does no
//! I/O.
//!
//! Only known elements and attributes are accepted, so that nothing has to be recognised as dangerous. The reader is stricter than XML:
//! what it does not understand is refused, because another program could understand it in another way.

use std::str::Chars;

/// The largest depth of elements.
const DEPTH: usize = 64;
/// The namespace of SVG.
const NAMESPACE: &str = "http://www.w3.org/2000/svg";

/// The elements that draw, and those that say what they draw with. They are separated by spaces.
const ELEMENTS: &str = "svg g defs symbol use title desc metadata style path rect circle ellipse line polyline polygon text tspan \
    linearGradient radialGradient stop clipPath mask pattern filter feGaussianBlur feOffset feBlend";
/// The attributes of these elements. Those that begin with `aria-` or `data-` are accepted too.
const ATTRIBUTES: &str = "alignment-baseline baseline-shift baseProfile class clip-path clip-rule clipPathUnits color \
    color-interpolation color-interpolation-filters color-rendering cx cy d direction display dominant-baseline \
    dx dy enable-background fill fill-opacity fill-rule filter filterUnits flood-color flood-opacity focusable \
    font-family font-size font-stretch font-style font-variant font-weight fr fx fy gradientTransform \
    gradientUnits height href id image-rendering in in2 isolation lang lengthAdjust letter-spacing marker mask \
    mask-type maskContentUnits maskUnits mix-blend-mode mode offset opacity overflow paint-order pathLength \
    patternContentUnits patternTransform patternUnits points preserveAspectRatio primitiveUnits r result role \
    rotate rx ry shape-rendering spreadMethod stdDeviation stop-color stop-opacity stroke stroke-dasharray \
    stroke-dashoffset stroke-linecap stroke-linejoin stroke-miterlimit stroke-opacity stroke-width style \
    tabindex text-anchor text-decoration text-rendering textLength transform transform-origin type unicode-bidi \
    vector-effect version viewBox visibility width word-spacing writing-mode x x1 x2 xml:lang xml:space y y1 y2 \
    xlink:href";

/// Returns whether a name is one of those in a list.
fn is_among(list: &str, name: &str) -> bool {
    list.split(' ').any(|known| known == name)
}

/// Checks an SVG, and returns its width and height in pixels, rounded up.
///
/// # Errors
/// What is wrong, as the end of a sentence that begins with the file.
pub(super) fn check(text: &str) -> Result<(u32, u32), String> {
    let mut reader = Reader {
        rest: text.trim_start_matches('\u{feff}').chars(),
        open: Vec::new(),
        size: None,
    };
    reader.document()?;
    reader.size.ok_or_else(|| {
        "is an SVG without a size: give it a viewBox, or a width and a height in pixels".to_owned()
    })
}

struct Reader<'a> {
    rest: Chars<'a>,
    /// The names of the elements that are open.
    open: Vec<&'a str>,
    size: Option<(u32, u32)>,
}

fn wrong(what: impl std::fmt::Display) -> String {
    format!("is not an SVG that only draws: {what}")
}

impl<'a> Reader<'a> {
    fn text(&self) -> &'a str {
        self.rest.as_str()
    }

    fn skip(&mut self, bytes: usize) {
        self.rest = self.text().get(bytes..).unwrap_or_default().chars();
    }

    fn skip_space(&mut self) {
        let trimmed = self.text().trim_start_matches([' ', '\t', '\r', '\n']);
        self.rest = trimmed.chars();
    }

    /// Takes the text up to a mark, and skips both.
    fn until(&mut self, mark: &str) -> Result<&'a str, String> {
        let (before, behind) = self
            .text()
            .split_once(mark)
            .ok_or_else(|| wrong(format!("'{mark}' is missing")))?;
        self.rest = behind.chars();
        Ok(before)
    }

    fn document(&mut self) -> Result<(), String> {
        if self.text().starts_with("<?xml ") {
            self.until("?>")?;
        }
        let mut begun = false;
        loop {
            let text = self.text();
            if text.starts_with("<!--") {
                self.skip(4);
                let comment = self.until("-->")?;
                if comment.contains("--") {
                    return Err(wrong("a comment contains --"));
                }
            } else if text.starts_with("<!") {
                return Err(wrong(
                    "it has a document type or CDATA, which may hold other text; remove it",
                ));
            } else if text.starts_with("<?") {
                return Err(wrong(
                    "it has a processing instruction, which may load a style; remove it",
                ));
            } else if text.starts_with("</") {
                self.skip(2);
                let name = self.until(">")?.trim_end();
                if self.open.pop() != Some(name) {
                    return Err(wrong(format!("</{}> ends no element", cut(name))));
                }
            } else if text.starts_with('<') {
                if begun && self.open.is_empty() {
                    return Err(wrong("something follows its end"));
                }
                self.skip(1);
                self.element(begun)?;
                begun = true;
            } else if text.is_empty() {
                break;
            } else {
                self.content()?;
            }
        }
        match (begun, self.open.last()) {
            (true, None) => Ok(()),
            (true, Some(name)) => Err(wrong(format!("<{name}> has no end"))),
            (false, _) => Err(wrong("it has no element")),
        }
    }

    /// Reads text between tags.
    fn content(&mut self) -> Result<(), String> {
        let text = self.text();
        let end = text.find('<').unwrap_or(text.len());
        let (content, _) = text.split_at(end);
        let content = unescaped(content)?;
        match self.open.last() {
            None if !content.trim().is_empty() => return Err(wrong("there is text outside of its element")),
            Some(&"style") => check_style(&content)?,
            _ => {}
        }
        self.skip(end);
        Ok(())
    }

    fn name(&mut self) -> Result<&'a str, String> {
        let text = self.text();
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | ':' | '.');
        let end = text.find(|c| !is_name(c)).unwrap_or(text.len());
        let (name, _) = text.split_at(end);
        if name.is_empty() {
            return Err(wrong("a name is missing"));
        }
        self.skip(end);
        Ok(name)
    }

    /// Reads a start tag, after its `<`.
    fn element(&mut self, begun: bool) -> Result<(), String> {
        let name = self.name()?;
        if !is_among(ELEMENTS, name) || (!begun && name != "svg") {
            return Err(wrong(format!(
                "it contains <{}>, which is not allowed; save it as a plain SVG, with shapes and text only",
                cut(name)
            )));
        }
        let mut attributes: Vec<(&str, String)> = Vec::new();
        let closed = loop {
            let before = self.text().len();
            self.skip_space();
            let spaced = self.text().len() < before;
            let text = self.text();
            if text.starts_with("/>") {
                self.skip(2);
                break true;
            }
            if text.starts_with('>') {
                self.skip(1);
                break false;
            }
            if !spaced {
                return Err(wrong(format!("a tag <{name}> is broken")));
            }
            let (attribute, value) = self.attribute()?;
            if attributes.iter().any(|(known, _)| *known == attribute) {
                return Err(wrong(format!("{attribute} is given twice")));
            }
            check_attribute(attribute, &value)?;
            attributes.push((attribute, value));
        };
        if !begun {
            let of = |name: &str| {
                let found = attributes.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| value.as_str())
            };
            if of("xmlns") != Some(NAMESPACE) {
                return Err(wrong(format!("its first element needs xmlns=\"{NAMESPACE}\"")));
            }
            self.size = size(of("width"), of("height"), of("viewBox"));
        }
        if !closed {
            self.open.push(name);
            if self.open.len() > DEPTH {
                return Err(wrong(format!("its elements nest more than {DEPTH} times")));
            }
        }
        Ok(())
    }

    fn attribute(&mut self) -> Result<(&'a str, String), String> {
        let name = self.name()?;
        self.skip_space();
        if !self.text().starts_with('=') {
            return Err(wrong(format!("the attribute {} has no value", cut(name))));
        }
        self.skip(1);
        self.skip_space();
        let quote = match self.rest.next() {
            Some('"') => "\"",
            Some('\'') => "'",
            _ => return Err(wrong(format!("the value of {} is not in quotes", cut(name)))),
        };
        let value = self.until(quote)?;
        if value.contains('<') {
            return Err(wrong(format!("the value of {} contains <", cut(name))));
        }
        Ok((name, unescaped(value)?))
    }
}

/// Checks an attribute of any element.
fn check_attribute(name: &str, value: &str) -> Result<(), String> {
    if name == "xmlns" || name.starts_with("xmlns:") {
        // A prefix could give a known element another meaning only if elements with prefixes were allowed.
        return Ok(());
    }
    let prefixed = ["aria-", "data-"].iter().any(|start| name.starts_with(start));
    if !prefixed && !is_among(ATTRIBUTES, name) {
        return Err(wrong(format!(
            "it has the attribute {}, which is not allowed; save it as a plain SVG",
            cut(name)
        )));
    }
    if matches!(name, "href" | "xlink:href") && !value.starts_with('#') {
        return Err(wrong(
            "a link leads outside; it may lead only to a part of the image, such as #a",
        ));
    }
    if name == "style" {
        return check_style(value);
    }
    check_urls(value)
}

/// Checks a style: no rule that loads anything, and no escape that could hide one.
fn check_style(style: &str) -> Result<(), String> {
    let lower = style.to_ascii_lowercase();
    for refused in [
        "@",
        "\\",
        "expression",
        "javascript:",
        "behavior",
        "-moz-binding",
        "image(",
        "image-set(",
        "src(",
    ] {
        if lower.contains(refused) {
            return Err(wrong(format!("a style contains {refused}")));
        }
    }
    check_urls(style)
}

/// Checks that each `url(…)` leads to a part of the image.
fn check_urls(value: &str) -> Result<(), String> {
    let lower = value.to_ascii_lowercase();
    for behind in lower.split("url").skip(1) {
        let Some(target) = behind.trim_start().strip_prefix('(') else {
            continue;
        };
        if !target
            .trim_start()
            .trim_start_matches(['"', '\''])
            .starts_with('#')
        {
            return Err(wrong(
                "url(…) leads outside; it may lead only to a part of the image, such as url(#a)",
            ));
        }
    }
    Ok(())
}

/// Replaces the character references that every program knows.
fn unescaped(text: &str) -> Result<String, String> {
    if let Some(c) = text
        .chars()
        .find(|c| c.is_control() && !matches!(c, '\t' | '\r' | '\n'))
    {
        return Err(wrong(format!(
            "it contains the control character U+{:04X}",
            u32::from(c)
        )));
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('&') {
        out.push_str(before);
        let (name, behind) = behind
            .split_once(';')
            .ok_or_else(|| wrong("an & does not begin a reference such as &amp;"))?;
        let number = |digits: &str, radix: u32| {
            let number = u32::from_str_radix(digits, radix).ok()?;
            char::from_u32(number).filter(|c| !c.is_control() || matches!(c, '\t' | '\r' | '\n'))
        };
        let character = match name {
            "amp" => Some('&'),
            "lt" => Some('<'),
            "gt" => Some('>'),
            "quot" => Some('"'),
            "apos" => Some('\''),
            _ => match (name.strip_prefix("#x"), name.strip_prefix('#')) {
                (Some(digits), _) => number(digits, 16),
                (None, Some(digits)) => number(digits, 10),
                (None, None) => None,
            },
        };
        out.push(character.ok_or_else(|| wrong(format!("&{}; is not known", cut(name))))?);
        rest = behind;
    }
    out.push_str(rest);
    Ok(out)
}

/// Returns the width and the height in pixels, from those of the first element or from its view box.
fn size(width: Option<&str>, height: Option<&str>, view: Option<&str>) -> Option<(u32, u32)> {
    let pixels = |text: &str| {
        let number: f64 = text.trim().trim_end_matches("px").parse().ok()?;
        (number.is_finite() && (0.0..1e6).contains(&number)).then(|| number.ceil() as u32)
    };
    if let (Some(width), Some(height)) = (width.and_then(pixels), height.and_then(pixels)) {
        return Some((width, height));
    }
    let numbers: Vec<&str> = view?
        .split([' ', ',', '\n', '\t'])
        .filter(|part| !part.is_empty())
        .collect();
    match numbers.as_slice() {
        [_, _, width, height] => Some((pixels(width)?, pixels(height)?)),
        _ => None,
    }
}

/// The beginning of a name, for an error.
fn cut(name: &str) -> String {
    crate::base::text::one_line(name, 40)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 120 40\"";

    fn with(inside: &str) -> Result<(u32, u32), String> {
        check(&format!("{HEAD}>{inside}</svg>"))
    }

    #[test]
    fn drawings_are_accepted() {
        let logo = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<!-- A logo -->\n{HEAD} xmlns:xlink=\"http://www.w3.org/1999/xlink\" role=\"img\">\
             <title>Quick &amp; Byte</title><defs><linearGradient id=\"a\"><stop offset=\"0\" stop-color='#0b5cad'/></linearGradient></defs>\
             <style>.b {{ fill: url(#a); }}</style><g class=\"b\" style=\"fill:url(#a)\"><path d=\"M0 0h10v10z\"/></g>\
             <use xlink:href=\"#a\" x=\"1\"/><text x=\"5\" y=\"20\">Quick&#233;</text></svg>\n"
        );
        assert_eq!(check(&logo), Ok((120, 40)));
        let sized = "<svg xmlns='http://www.w3.org/2000/svg' width='99.5px' height='20'/>";
        assert_eq!(check(sized), Ok((100, 20)));
    }

    #[test]
    fn whatever_could_do_more_is_refused() {
        for inside in [
            "<script>alert(1)</script>",
            "<SCRIPT>alert(1)</SCRIPT>",
            "<a href=\"https://evil.example\"><path d=\"\"/></a>",
            "<image href=\"https://evil.example/x.png\"/>",
            "<image href=\"data:image/png;base64,AA\"/>",
            "<use href=\"https://evil.example/x.svg#a\"/>",
            "<use xlink:href=\"data:image/svg+xml,x\"/>",
            "<use href=\" #a\"/>",
            "<foreignObject><p/></foreignObject>",
            "<animate attributeName=\"href\" to=\"javascript:alert(1)\"/>",
            "<set attributeName=\"onload\" to=\"alert(1)\"/>",
            "<path d=\"\" onload=\"alert(1)\"/>",
            "<path d=\"\" OnClick=\"alert(1)\"/>",
            "<path d=\"\" fill=\"url(https://evil.example/x)\"/>",
            "<path d=\"\" fill=\"url ( 'https://evil.example' )\"/>",
            "<path d=\"\" style=\"fill:u\\72l(https://evil.example)\"/>",
            "<path d=\"\" fill=\"&#117;rl(//evil.example)\"/>",
            "<style>@import 'https://evil.example/x.css';</style>",
            "<style>&#64;import 'https://evil.example/x.css';</style>",
            "<style>a { background: image-set('https://evil.example/x') }</style>",
            "<![CDATA[<script>]]>",
            "<?xml-stylesheet href=\"https://evil.example\"?>",
            "<h:script xmlns:h=\"http://www.w3.org/1999/xhtml\"/>",
            "<path d=\"\" d=\"x\"/>",
            "<path d=x/>",
            "<path d=\"\"",
            "<g>",
            "</g>",
            "<g></path>",
            "&evil;",
            "&#0;",
            "\u{0}",
        ] {
            assert!(with(inside).is_err(), "{inside}");
        }
        for whole in [
            format!("<!DOCTYPE svg [<!ENTITY a \"b\">]>{HEAD}></svg>"),
            format!("{HEAD} onload=\"alert(1)\"></svg>"),
            format!("{HEAD}></svg><svg/>"),
            format!("{HEAD}></svg>text"),
            "<html></html>".to_owned(),
            "<svg viewBox=\"0 0 120 40\"></svg>".to_owned(),
            "<svg xmlns=\"http://www.w3.org/1999/xhtml\" viewBox=\"0 0 120 40\"></svg>".to_owned(),
            "<svg xmlns=\"http://www.w3.org/2000/svg\"></svg>".to_owned(),
            format!("{HEAD}>{}{}</svg>", "<g>".repeat(100), "</g>".repeat(100)),
        ] {
            assert!(check(&whole).is_err(), "{whole}");
        }
    }
}
