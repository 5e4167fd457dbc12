//! The partials that templates can use.

/// The partials that templates may use, by name.
pub(super) const PARTIALS: [(&str, &str); 10] = [
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
        "action.txt",
        include_str!("../../../templates/email/action.txt.hbs"),
    ),
    (
        "action.html",
        include_str!("../../../templates/email/action.html.hbs"),
    ),
];
