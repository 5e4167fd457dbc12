//! The partials that templates can use.

/// The partials that templates may use, by name.
pub(super) const PARTIALS: [(&str, &str); 14] = [
    (
        "layout.html",
        include_str!("../../../templates/email/layout.html.hbs"),
    ),
    (
        "paragraphs.txt",
        include_str!("../../../templates/email/paragraphs.txt.hbs"),
    ),
    (
        "paragraphs.html",
        include_str!("../../../templates/email/paragraphs.html.hbs"),
    ),
    (
        "brand.txt",
        include_str!("../../../templates/email/brand.txt.hbs"),
    ),
    (
        "brand.html",
        include_str!("../../../templates/email/brand.html.hbs"),
    ),
    (
        "footer.txt",
        include_str!("../../../templates/email/footer.txt.hbs"),
    ),
    (
        "resources.txt",
        include_str!("../../../templates/email/resources.txt.hbs"),
    ),
    (
        "resources.html",
        include_str!("../../../templates/email/resources.html.hbs"),
    ),
    (
        "answers.txt",
        include_str!("../../../templates/email/answers.txt.hbs"),
    ),
    (
        "answers.html",
        include_str!("../../../templates/email/answers.html.hbs"),
    ),
    (
        "next_update.txt",
        include_str!("../../../templates/email/next_update.txt.hbs"),
    ),
    (
        "next_update.html",
        include_str!("../../../templates/email/next_update.html.hbs"),
    ),
    (
        "action.txt",
        include_str!("../../../templates/email/action.txt.hbs"),
    ),
    (
        "action.html",
        include_str!("../../../templates/email/action.html.hbs"),
    ),
];

/// Returns the names of the partials that templates may use.
pub fn partials() -> impl Iterator<Item = &'static str> {
    PARTIALS.iter().map(|(name, _)| *name)
}

/// Returns the names and texts of the partials of this version of Candor.
pub fn partial_texts() -> Vec<(String, String)> {
    PARTIALS
        .iter()
        .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
        .collect()
}

/// Returns whether these are the partials of this version of Candor.
pub fn are_current(partials: &[(String, String)]) -> bool {
    let given = partials.iter().map(|(name, text)| (name.as_str(), text.as_str()));
    given.eq(PARTIALS)
}
