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
    OriginNotAllowed = "origin_not_allowed",
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
    // Errors about merged incidents.
    Merged = "merged",
    MergeRefused = "merge_refused",
    NotMerged = "not_merged",
    // Errors about comparisons.
    UploadReplaced = "upload_replaced",
    ListingMissing = "listing_missing",
    ComparisonNotDone = "comparison_not_done",
    ComparisonApplied = "comparison_applied",
    // Errors about notices and deliveries.
    ApprovalRequired = "approval_required",
    OwnApproval = "own_approval",
    ChangedSincePreview = "changed_since_preview",
    NotADraft = "not_a_draft",
    ValuesMissing = "values_missing",
    PlaceholderText = "placeholder_text",
    StillImpaired = "still_impaired",
    NoRecoveryStates = "no_recovery_states",
    // Errors about people who were erased.
    Erased = "erased",
    BeingSent = "being_sent",
    NotOurOwnAddress = "not_our_own_address",
    NameTheWave = "name_the_wave",
    NothingToResend = "nothing_to_resend",
    NotAnEmail = "not_an_email",
    EmailNotSent = "email_not_sent",
    EmailNotReproducible = "email_not_reproducible",
    NoFurtherWave = "no_further_wave",
    // Errors about recovery and its evidence.
    ClaimIsNotEvidence = "claim_is_not_evidence",
    UnknownResource = "unknown_resource",
    NotAffected = "not_affected",
    EvidenceTooOld = "evidence_too_old",
    EvidenceInFuture = "evidence_in_future",
    ChecksumType = "checksum_type",
    NothingComparable = "nothing_comparable",
    NothingExpected = "nothing_expected",
    ValueDiffers = "value_differs",
    Measurable = "measurable",
    OwnAttestation = "own_attestation",
    CheckNotPassed = "check_not_passed",
    // Errors about selectors.
    UnknownLabel = "unknown_label",
    UnknownType = "unknown_type",
    // Errors of the service itself.
    Unavailable = "unavailable",
    Internal = "internal",
}
