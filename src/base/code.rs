//! The stable words by which a program tells one error from another. `docs/errors.md` explains each.

macro_rules! codes {
    ($($variant:ident = $text:literal),+ $(,)?) => {
        /// What went wrong, as a stable word. A word that was released keeps its meaning.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(missing_docs)]
        pub enum Code { $($variant),+ }

        impl Code {
            /// Every word.
            pub const ALL: &[&str] = &[$($text),+];

            /// The word.
            pub fn as_str(self) -> &'static str {
                match self { $(Code::$variant => $text),+ }
            }
        }
    };
}

codes! {
    // Of the request.
    InvalidInput = "invalid_input",
    Unauthorized = "unauthorized",
    SignatureInvalid = "signature_invalid",
    Forbidden = "forbidden",
    RoleMissing = "role_missing",
    FormExpired = "form_expired",
    NotFound = "not_found",
    MethodNotAllowed = "method_not_allowed",
    BodyTooSlow = "body_too_slow",
    BodyTooLarge = "body_too_large",
    UnsupportedMediaType = "unsupported_media_type",
    CompressedBody = "compressed_body",
    TooManyRefusals = "too_many_refusals",
    IdempotencyKeyReused = "idempotency_key_reused",
    IdempotencyKeyInUse = "idempotency_key_in_use",
    // Of the state of things.
    Conflict = "conflict",
    AlreadyExists = "already_exists",
    LimitReached = "limit_reached",
    IntegrationEnded = "integration_ended",
    RunInProgress = "run_in_progress",
    // Of notices and deliveries.
    ApprovalRequired = "approval_required",
    OwnApproval = "own_approval",
    ChangedSincePreview = "changed_since_preview",
    NotADraft = "not_a_draft",
    NothingToResend = "nothing_to_resend",
    // Of selectors.
    UnknownLabel = "unknown_label",
    UnknownType = "unknown_type",
    // Of the service.
    Unavailable = "unavailable",
    Internal = "internal",
}
