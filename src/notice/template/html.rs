//! Checks at which places of the HTML part a template shows values. Escaping for HTML protects the reader in text and in the
//! quoted values of harmless attributes. It does not protect inside scripts, styles, comments, unquoted values, event
//! handlers and link targets. The check reads the parsed template together with an HTML tokenizer, and refuses a value at
//! every place that is not on the list of allowed places.
//!
//! The tokenizer follows the HTML standard (13.2.5). Programs read the content of some elements in different ways. After such
//! an element the place is unknown, and no value is allowed. A conditional comment of Outlook counts as a comment.

use handlebars::template::{BlockParam, DecoratorTemplate, HelperTemplate, Parameter, TemplateElement};
use handlebars::{Path, PathSeg, Template};

use crate::base::text::one_line;

/// Attributes whose quoted value may contain any value. Attributes that begin with `aria-` or `data-` may contain one too.
const ATTRIBUTES: [&str; 15] = [
    "abbr", "align", "alt", "bgcolor", "class", "color", "datetime", "dir", "height", "id", "lang",
    "summary", "title", "valign", "width",
];
/// The variables with links that Candor makes, or that its settings contain. A link begins with its scheme and contains no unescaped value of a customer.
const LINKS: [&str; 6] = [
    "support_url",
    "unsubscribe_url",
    "mine_url",
    "answers.works",
    "answers.broken",
    "answers.help",
];
/// The variables with the URL of an image that Candor serves.
const IMAGES: [&str; 1] = ["brand.logo"];
/// Elements whose content up to the end tag is text without entities and comments.
const RAW: [&str; 6] = ["script", "style", "xmp", "iframe", "noembed", "noframes"];
/// Elements whose content up to the end tag is text with entities.
const ESCAPABLE: [&str; 2] = ["title", "textarea"];
/// Elements after which programs disagree about what is text.
const AMBIGUOUS: [&str; 5] = ["svg", "math", "noscript", "plaintext", "select"];
/// The largest number of characters and elements that one check reads. The bodies of nested lists are read several times.
const STEPS: usize = 4_000_000;

/// How the text after a tag must be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// An end tag, such as `</p>`.
    End,
    /// The start tag of `<a>` or `<area>`, whose `href` may be a link of Candor.
    Link,
    /// The start tag of `<img>`, whose `src` may be an image of Candor.
    Image,
    /// The start tag of one of the [`RAW`] elements.
    Raw(&'static str),
    /// The start tag of one of the [`ESCAPABLE`] elements.
    Escapable(&'static str),
    /// The start tag of one of the [`AMBIGUOUS`] elements, after which the place is unknown.
    Ambiguous(&'static str),
    /// The start tag of any other element.
    Other,
}

impl Kind {
    fn of(name: &str, end: bool) -> Kind {
        let among = |names: &[&'static str]| names.iter().find(|known| **known == name).copied();
        if end {
            Kind::End
        } else if name == "a" || name == "area" {
            Kind::Link
        } else if name == "img" {
            Kind::Image
        } else if let Some(name) = among(&RAW) {
            Kind::Raw(name)
        } else if let Some(name) = among(&ESCAPABLE) {
            Kind::Escapable(name)
        } else if let Some(name) = among(&AMBIGUOUS) {
            Kind::Ambiguous(name)
        } else {
            Kind::Other
        }
    }
}

/// A place in HTML, which is the state of the tokenizer.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    /// In the text between tags.
    Text,
    /// After a `<`, which begins a tag, a comment or a declaration.
    Less,
    /// After `</`, where the name of an end tag begins.
    LessSlash,
    /// After `<!`. If `dash` is set, a `-` follows it, which may begin a comment.
    LessBang { dash: bool },
    /// In the name of a tag. If `end` is set, it is an end tag.
    TagName { name: String, end: bool },
    /// Inside a tag, after white space, where an attribute may begin.
    Gap(Kind),
    /// In the name of an attribute.
    AttributeName(Kind, String),
    /// After the name of an attribute and white space.
    AfterName(Kind, String),
    /// After the `=` of an attribute, before its value.
    BeforeValue(Kind, String),
    /// In the quoted value of an attribute.
    Quoted {
        kind: Kind,
        attribute: String,
        quote: char,
        /// Whether the value already contains something.
        begun: bool,
    },
    /// In the value of an attribute that is not in quotes.
    Unquoted(Kind),
    /// After the closing quote of a value.
    AfterValue(Kind),
    /// After a block inside a tag whose branches end at different places between attributes. If `spaced` is set, each branch
    /// ends with white space.
    Joined { kind: Kind, spaced: bool },
    /// In an HTML comment, `<!-- … -->`. `dashes` and `bang` describe its last characters, which may become its end. `fresh` means that it
    /// contains only dashes or nothing yet.
    Comment { dashes: u8, bang: bool, fresh: bool },
    /// In a declaration, such as `<!doctype …>`, `<?…>` or `<![if …]>`.
    Declaration,
    /// In the content of a [`RAW`] or [`ESCAPABLE`] element. `tail` contains the last characters, which may become its end
    /// tag.
    Content {
        name: &'static str,
        escapable: bool,
        tail: String,
    },
    /// After something that programs read in different ways.
    Unknown(&'static str),
}

fn is_space(letter: char) -> bool {
    matches!(letter, ' ' | '\t' | '\n' | '\r' | '\u{c}')
}

/// Returns the place after the `>` of a tag.
fn behind(kind: Kind) -> Place {
    let content = |name, escapable| Place::Content {
        name,
        escapable,
        tail: String::new(),
    };
    match kind {
        Kind::Raw(name) => content(name, false),
        Kind::Escapable(name) => content(name, true),
        Kind::Ambiguous(name) => Place::Unknown(name),
        Kind::End | Kind::Link | Kind::Image | Kind::Other => Place::Text,
    }
}

/// Returns the place after a letter at a place where an attribute may begin.
fn in_gap(kind: Kind, letter: char) -> Place {
    match letter {
        '>' => behind(kind),
        '/' => Place::Gap(kind),
        _ if is_space(letter) => Place::Gap(kind),
        _ => Place::AttributeName(kind, letter.to_ascii_lowercase().to_string()),
    }
}

fn in_content(name: &'static str, escapable: bool, mut tail: String, letter: char) -> Place {
    let end = format!("</{name}");
    if tail == end && (is_space(letter) || matches!(letter, '/' | '>')) {
        return in_gap(Kind::End, letter);
    }
    tail.push(letter.to_ascii_lowercase());
    if name == "script" && tail == "<!--" {
        // What ends such a script depends on the tags in the comment.
        return Place::Unknown(name);
    }
    let may_end = end.starts_with(&tail) || name == "script" && "<!--".starts_with(&tail);
    if !may_end {
        tail.clear();
        if letter == '<' {
            tail.push(letter);
        }
    }
    Place::Content {
        name,
        escapable,
        tail,
    }
}

fn in_comment(dashes: u8, bang: bool, fresh: bool, letter: char) -> Place {
    let comment = |dashes, bang, fresh| Place::Comment { dashes, bang, fresh };
    match letter {
        '>' if fresh || bang || dashes == 2 => Place::Text,
        '-' if bang => comment(1, false, false),
        '-' => comment((dashes + 1).min(2), false, fresh),
        '!' if dashes == 2 && !bang => comment(2, true, false),
        _ => comment(0, false, false),
    }
}

impl Place {
    /// Returns the place after a value was written there. It differs only in the value of an attribute, which has then begun.
    fn begun(self) -> Place {
        match self {
            Place::Quoted {
                kind,
                attribute,
                quote,
                ..
            } => Place::Quoted {
                kind,
                attribute,
                quote,
                begun: true,
            },
            other => other,
        }
    }

    /// Returns the place after one more letter.
    fn after(self, letter: char) -> Result<Place, String> {
        Ok(match self {
            Place::Text | Place::Less if letter == '<' => Place::Less,
            Place::Text => Place::Text,
            Place::Less => match letter {
                '/' => Place::LessSlash,
                '!' => Place::LessBang { dash: false },
                '?' => Place::Declaration,
                _ if letter.is_ascii_alphabetic() => Place::TagName {
                    name: letter.to_ascii_lowercase().to_string(),
                    end: false,
                },
                _ => Place::Text,
            },
            Place::LessSlash => match letter {
                '>' => Place::Text,
                _ if letter.is_ascii_alphabetic() => Place::TagName {
                    name: letter.to_ascii_lowercase().to_string(),
                    end: true,
                },
                _ => Place::Declaration,
            },
            Place::LessBang { dash } => match letter {
                '-' if dash => Place::Comment {
                    dashes: 0,
                    bang: false,
                    fresh: true,
                },
                '-' => Place::LessBang { dash: true },
                '>' => Place::Text,
                _ => Place::Declaration,
            },
            Place::TagName { mut name, end } => {
                if is_space(letter) || matches!(letter, '/' | '>') {
                    in_gap(Kind::of(&name, end), letter)
                } else {
                    name.push(letter.to_ascii_lowercase());
                    Place::TagName { name, end }
                }
            }
            Place::Gap(kind) | Place::AfterValue(kind) => in_gap(kind, letter),
            Place::Joined { kind, spaced } => {
                if is_space(letter) || matches!(letter, '/' | '>') || spaced && letter != '=' {
                    in_gap(kind, letter)
                } else {
                    return Err(format!(
                        "after {{{{/if}}}} between attributes, a space, / or > must follow, and not '{letter}'"
                    ));
                }
            }
            Place::AttributeName(kind, mut name) => match letter {
                '=' => Place::BeforeValue(kind, name),
                '/' | '>' => in_gap(kind, letter),
                _ if is_space(letter) => Place::AfterName(kind, name),
                _ => {
                    name.push(letter.to_ascii_lowercase());
                    Place::AttributeName(kind, name)
                }
            },
            Place::AfterName(kind, name) => match letter {
                '=' => Place::BeforeValue(kind, name),
                _ if is_space(letter) => Place::AfterName(kind, name),
                _ => in_gap(kind, letter),
            },
            Place::BeforeValue(kind, attribute) => match letter {
                '"' | '\'' => Place::Quoted {
                    kind,
                    attribute,
                    quote: letter,
                    begun: false,
                },
                '>' => behind(kind),
                _ if is_space(letter) => Place::BeforeValue(kind, attribute),
                _ => Place::Unquoted(kind),
            },
            Place::Quoted { kind, quote, .. } if letter == quote => Place::AfterValue(kind),
            Place::Quoted { .. } => self.begun(),
            Place::Unquoted(kind) => match letter {
                '>' => behind(kind),
                _ if is_space(letter) => Place::Gap(kind),
                _ => Place::Unquoted(kind),
            },
            Place::Comment { dashes, bang, fresh } => in_comment(dashes, bang, fresh, letter),
            Place::Declaration if letter == '>' => Place::Text,
            Place::Declaration => Place::Declaration,
            Place::Content {
                name,
                escapable,
                tail,
            } => in_content(name, escapable, tail, letter),
            Place::Unknown(name) => Place::Unknown(name),
        })
    }

    /// Returns the place after two branches of a block. Returns `None` if the following text would have different meanings after
    /// the two branches.
    fn join(self, other: Place) -> Option<Place> {
        if self == other {
            return Some(self);
        }
        if let (
            Place::Quoted {
                kind,
                attribute,
                quote,
                ..
            },
            Place::Quoted {
                kind: other_kind,
                attribute: other_attribute,
                quote: other_quote,
                ..
            },
        ) = (&self, &other)
        {
            let same = kind == other_kind && attribute == other_attribute && quote == other_quote;
            return same.then_some(Place::Quoted {
                kind: *kind,
                attribute: attribute.clone(),
                quote: *quote,
                begun: true,
            });
        }
        let ((kind, spaced), (other_kind, other_spaced)) = (self.between()?, other.between()?);
        (kind == other_kind).then_some(Place::Joined {
            kind,
            spaced: spaced && other_spaced,
        })
    }

    /// If the place is between the attributes of a tag, so that a space, `/` or `>` has the same meaning as at the other places
    /// of this kind, returns the kind of the tag and whether white space came last.
    fn between(&self) -> Option<(Kind, bool)> {
        match self {
            Place::TagName { name, end } => Some((Kind::of(name, *end), false)),
            Place::AttributeName(kind, _) | Place::AfterValue(kind) => Some((*kind, false)),
            Place::Gap(kind) | Place::AfterName(kind, _) => Some((*kind, true)),
            Place::Joined { kind, spaced } => Some((*kind, *spaced)),
            _ => None,
        }
    }

    /// Describes the place. The text completes a sentence with "is" or "ends".
    fn words(&self) -> String {
        match self {
            Place::Text => "in the text".to_owned(),
            Place::Less | Place::LessSlash | Place::TagName { .. } => "in the name of a tag".to_owned(),
            Place::LessBang { .. } | Place::Declaration => "in a declaration (<!…>)".to_owned(),
            Place::Gap(_) | Place::AfterValue(_) | Place::Joined { .. } => {
                "within a tag, between attributes".to_owned()
            }
            Place::AttributeName(..) | Place::AfterName(..) => "in the name of an attribute".to_owned(),
            Place::BeforeValue(_, name) => format!("in the value of {name}, which is not in quotes"),
            Place::Unquoted(_) => "in the value of an attribute, which is not in quotes".to_owned(),
            Place::Quoted { attribute, .. } => {
                format!("in the value of the attribute {}", one_line(attribute, 40))
            }
            Place::Comment { .. } => "in an HTML comment".to_owned(),
            Place::Content { name, .. } => format!("in the content of <{name}>"),
            Place::Unknown(name) => format!("behind <{name}>"),
        }
    }

    /// Returns what the author of the template can do if a value is at this place, where it is not allowed.
    fn advice(&self) -> String {
        match self {
            Place::Less | Place::LessSlash => "write &lt; for a < in the text".to_owned(),
            Place::BeforeValue(_, name) if is_harmless(name) => "put the value in quotes".to_owned(),
            Place::Unquoted(_) => "put the value in quotes".to_owned(),
            Place::Quoted { attribute, .. } if attribute == "href" => format!(
                "href may hold only a link that Candor makes ({}), in <a> or <area>, first in the value",
                LINKS.map(|name| format!("{{{{{name}}}}}")).join(", ")
            ),
            Place::Quoted { .. } | Place::BeforeValue(..) => format!(
                "move it into the text, or into the quoted value of one of these attributes: {}, aria-*, data-*",
                ATTRIBUTES.join(", ")
            ),
            Place::Comment { .. } => {
                "move it into the text; a comment of the template is {{!-- … --}}".to_owned()
            }
            Place::Unknown(name) => format!(
                "email programs read what follows <{name}> in different ways; move it before <{name}>, or remove <{name}>"
            ),
            _ => "move it into the text, or into a quoted attribute".to_owned(),
        }
    }
}

/// Returns whether the quoted value of this attribute may contain any value.
fn is_harmless(attribute: &str) -> bool {
    let prefixed = ["aria-", "data-"]
        .iter()
        .any(|prefix| attribute.len() > prefix.len() && attribute.starts_with(prefix));
    prefixed || ATTRIBUTES.contains(&attribute)
}

/// Checks at which places a parsed HTML part shows values. The part begins at a place in the text.
///
/// # Errors
/// The first place where a value is not allowed, with its line and column, and what the author can do.
pub(super) fn check(template: &Template) -> Result<(), String> {
    Walk { steps: STEPS }.template(template, Place::Text).map(drop)
}

struct Walk {
    /// The number of characters and elements that may still be read.
    steps: usize,
}

impl Walk {
    fn template(&mut self, template: &Template, mut place: Place) -> Result<Place, String> {
        for (index, element) in template.elements.iter().enumerate() {
            place = self
                .element(element, place)
                .map_err(|why| match template.mapping.get(index) {
                    // The error comes from a deeper element, which has added its place already.
                    Some(at) if !why.starts_with("line ") => {
                        format!("line {}, column {}: {why}", at.0, at.1)
                    }
                    _ => why,
                })?;
        }
        Ok(place)
    }

    fn element(&mut self, element: &TemplateElement, place: Place) -> Result<Place, String> {
        self.spend(1)?;
        match element {
            TemplateElement::RawString(text) => {
                self.spend(text.len())?;
                text.chars().try_fold(place, Place::after)
            }
            TemplateElement::Comment(_) => Ok(place),
            TemplateElement::Expression(shown) => show(shown, place),
            TemplateElement::HelperBlock(block) => self.block(block, place),
            TemplateElement::PartialExpression(partial) | TemplateElement::PartialBlock(partial) => {
                self.partial(partial, place)
            }
            _ => Err("this is not allowed in the HTML part".to_owned()),
        }
    }

    fn spend(&mut self, steps: usize) -> Result<(), String> {
        self.steps = self
            .steps
            .checked_sub(steps)
            .ok_or("too many {{#each}} nest within tags: put them between the tags")?;
        Ok(())
    }

    fn block(&mut self, block: &HelperTemplate, place: Place) -> Result<Place, String> {
        let params: Vec<&Parameter> = match &block.block_param {
            Some(BlockParam::Single(one)) => vec![one],
            Some(BlockParam::Pair((one, two))) => vec![one, two],
            _ => Vec::new(),
        };
        if let Some(link) = params.into_iter().find_map(|param| reserved(raw(param))) {
            return Err(taken(link));
        }
        let body = match &block.template {
            Some(part) if raw(&block.name) == "each" => self.list(part, place.clone())?,
            Some(part) => self.template(part, place.clone())?,
            None => place.clone(),
        };
        let inverse = match &block.inverse {
            Some(part) => self.template(part, place)?,
            None => place,
        };
        meet(body, inverse, raw(&block.name))
    }

    /// Returns the place after a list. Each round of the body begins at the place where the round before ended. So the body
    /// is read until it begins and ends at the same place.
    fn list(&mut self, body: &Template, mut start: Place) -> Result<Place, String> {
        // A few rounds are enough, because two places can be joined only a few times.
        for _ in 0..4 {
            let end = self.template(body, start.clone())?;
            let met = meet(start.clone(), end, "each")?;
            if met == start {
                return Ok(met);
            }
            start = met;
        }
        Err("the body of {{#each}} ends at another place of the HTML each time".to_owned())
    }

    fn partial(&mut self, partial: &DecoratorTemplate, place: Place) -> Result<Place, String> {
        let name = raw(&partial.name);
        if place != Place::Text {
            return Err(format!(
                "the partial '{name}' is {}: partials are allowed only in the text",
                place.words()
            ));
        }
        if let Some(link) = partial.hash.keys().find_map(|name| reserved(name)) {
            return Err(taken(link));
        }
        if let Some(block) = &partial.template {
            let end = self.template(block, Place::Text)?;
            if end != Place::Text {
                return Err(format!(
                    "the block of the partial '{name}' ends {}: it must end in the text, so close its tags",
                    end.words()
                ));
            }
        }
        Ok(Place::Text)
    }
}

/// Checks that a value is allowed at a place, and returns the place after it.
fn show(shown: &HelperTemplate, place: Place) -> Result<Place, String> {
    let allowed = match &place {
        Place::Text => true,
        Place::Content { escapable, tail, .. } => *escapable && tail.is_empty(),
        Place::Quoted {
            kind,
            attribute,
            begun,
            ..
        } => {
            let whole = |names: &[&str]| !begun && is_one_of(names, shown);
            is_harmless(attribute)
                || attribute == "href" && *kind == Kind::Link && whole(&LINKS)
                || attribute == "src" && *kind == Kind::Image && whole(&IMAGES)
        }
        _ => false,
    };
    if !allowed {
        return Err(format!(
            "{{{{{}}}}} is {}, where a customer's value is not safe: {}",
            one_line(raw(&shown.name), 60),
            place.words(),
            place.advice()
        ));
    }
    Ok(place.begun())
}

/// Returns whether an expression consists only of one of these URLs that Candor makes.
fn is_one_of(names: &[&str], shown: &HelperTemplate) -> bool {
    let named = || named(&shown.name).is_some_and(|name| names.contains(&name.as_str()));
    shown.params.is_empty() && shown.hash.is_empty() && named()
}

/// Returns the variable to which a name or a path such as `@root.unsubscribe_url` or `answers.works` refers.
fn named(parameter: &Parameter) -> Option<String> {
    let name = match parameter {
        Parameter::Name(name) => name.clone(),
        Parameter::Path(Path::Relative((segments, _))) => {
            let names = segments.iter().filter_map(|segment| match segment {
                PathSeg::Named(name) => Some(name.as_str()),
                _ => None,
            });
            names.collect::<Vec<_>>().join(".")
        }
        _ => return None,
    };
    Some(name)
}

/// The first name of the path to a link, if this is it. With another meaning of this name, the path would lead elsewhere.
fn reserved(name: &str) -> Option<&'static str> {
    LINKS
        .into_iter()
        .chain(IMAGES)
        .filter_map(|link| link.split('.').next())
        .find(|first| *first == name)
}

fn taken(link: &str) -> String {
    format!("the name '{link}' is that of a link which Candor makes: choose another name")
}

fn meet(one: Place, other: Place, block: &str) -> Result<Place, String> {
    let wrong = differs(block, &one, &other);
    one.join(other).ok_or(wrong)
}

fn differs(block: &str, one: &Place, other: &Place) -> String {
    let (one, other) = (one.words(), other.words());
    let places = if one == other {
        format!("at different places {one}")
    } else {
        format!("{one} and {other}")
    };
    match block {
        "each" => format!(
            "the body of {{{{#each}}}} begins and ends at different places of the HTML ({places}): let it hold whole tags or \
             whole attributes"
        ),
        _ => format!(
            "the branches of {{{{#{block}}}}} end at different places of the HTML ({places}; a missing branch ends where \
             the block begins): let each branch hold whole tags or whole attributes"
        ),
    }
}

/// Returns a name as the author of the template wrote it.
fn raw(parameter: &Parameter) -> &str {
    match parameter {
        Parameter::Name(name) => name,
        Parameter::Path(Path::Relative((_, raw)) | Path::Local((_, _, raw))) => raw,
        Parameter::Literal(value) => value.as_str().unwrap_or("…"),
        _ => "…",
    }
}
