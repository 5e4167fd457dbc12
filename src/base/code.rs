//! The stable error codes, with which a program distinguishes errors. `docs/errors.md` explains each of them.

macro_rules! codes {
    ($($variant:ident = $text:literal),+ $(,)?) => {
        /// A stable error code. A code that was released keeps its meaning.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(missing_docs)]
        pub enum Code { $($variant),+ }

        impl Code {
            /// The text of every code, as a problem document shows it.
            pub const ALL: &[&str] = &[$($text),+];

            /// Returns the code as text.
            pub fn as_str(self) -> &'static str {
                match self { $(Code::$variant => $text),+ }
            }
        }
    };
}

codes! {
    // Errors about the request.
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
    // Errors about the current state.
    Conflict = "conflict",
    AlreadyExists = "already_exists",
    LimitReached = "limit_reached",
    IntegrationEnded = "integration_ended",
    RunInProgress = "run_in_progress",
    // Errors about notices and deliveries.
    ApprovalRequired = "approval_required",
    OwnApproval = "own_approval",
    ChangedSincePreview = "changed_since_preview",
    NotADraft = "not_a_draft",
    ValuesMissing = "values_missing",
    NothingToResend = "nothing_to_resend",
    NoFurtherWave = "no_further_wave",
    // Errors about selectors.
    UnknownLabel = "unknown_label",
    UnknownType = "unknown_type",
    // Errors of the service itself.
    Unavailable = "unavailable",
    Internal = "internal",
}
