//! The actions that the audit trail knows.

macro_rules! actions {
    ($($variant:ident = $text:literal),+ $(,)?) => {
        /// The action of an event.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(missing_docs)]
        pub enum Action { $($variant),+ }

        impl Action {
            /// The text of every action, as the audit trail stores it.
            pub const ALL: &[&str] = &[$($text),+];

            /// Returns the action as it is stored and shown.
            pub fn as_str(self) -> &'static str {
                match self { $(Action::$variant => $text),+ }
            }
        }
    };
}

actions! {
    AccessDenied = "access.denied",
    AccessForbidden = "access.forbidden",
    AdminSignedIn = "admin.signed_in",
    AdminSignedOut = "admin.signed_out",
    TokenCreated = "token.created",
    TokenRevoked = "token.revoked",
    FeedKeyCreated = "feed_key.created",
    FeedKeyRevoked = "feed_key.revoked",
    PreferencesChanged = "preferences.changed",
    AccountPut = "account.put",
    AccountDeleted = "account.deleted",
    PersonPut = "person.put",
    PersonDeleted = "person.deleted",
    PersonChose = "person.preferences_changed",
    PersonErased = "person.erased",
    PersonExported = "person.exported",
    PersonAllowed = "person.allowed_again",
    RetentionApplied = "retention.applied",
    SecretsRotated = "secrets.rotated",
    ResourcePut = "resource.put",
    ResourceDeleted = "resource.deleted",
    MemberPut = "member.put",
    MemberDeleted = "member.deleted",
    CollaboratorPut = "collaborator.put",
    CollaboratorDeleted = "collaborator.deleted",
    EndpointCreated = "endpoint.created",
    EndpointDeleted = "endpoint.deleted",
    EndpointDisabled = "endpoint.disabled",
    EndpointEnabled = "endpoint.enabled",
    EndpointTested = "endpoint.tested",
    DirectoryImported = "directory.imported",
    SourceCreated = "source.created",
    SourceChanged = "source.changed",
    SourceDeleted = "source.deleted",
    SourceTested = "source.tested",
    SyncRequested = "sync.requested",
    SyncConfirmed = "sync.confirmed",
    SyncRefused = "sync.refused",
    SyncStopped = "sync.stopped",
    SyncFailed = "sync.failed",
    DirectorySynced = "directory.synced",
    CalloutAnswered = "callout.answered",
    CalloutFailed = "callout.failed",
    ReferencesResolved = "references.resolved",
    IntegrationCreated = "integration.created",
    IntegrationChanged = "integration.changed",
    IntegrationDeleted = "integration.deleted",
    HookRefused = "hook.refused",
    HookInvalid = "hook.invalid",
    HookIgnored = "hook.ignored",
    HookReplayed = "hook.replayed",
    HookSubscription = "hook.subscription",
    AlertRuleCreated = "alert_rule.created",
    AlertRuleChanged = "alert_rule.changed",
    AlertRuleDeleted = "alert_rule.deleted",
    AlertRulesOrdered = "alert_rules.ordered",
    SilenceCreated = "silence.created",
    SilenceEnded = "silence.ended",
    MaintenanceCreated = "maintenance_window.created",
    MaintenanceEnded = "maintenance_window.ended",
    MaintenancePlanned = "maintenance.planned",
    MaintenanceMoved = "maintenance.moved",
    MaintenanceCancelled = "maintenance.cancelled",
    MaintenanceBegun = "maintenance.begun",
    MaintenanceOver = "maintenance.over",
    AlertReceived = "alert.received",
    AlertRepeated = "alert.repeated",
    AlertResolved = "alert.resolved",
    PeopleSeen = "people.seen",
    PeopleIdentified = "people.identified",
    CheckCreated = "check.created",
    CheckChanged = "check.changed",
    CheckDeleted = "check.deleted",
    CheckState = "check.state",
    HeartbeatCreated = "heartbeat.created",
    HeartbeatChanged = "heartbeat.changed",
    HeartbeatDeleted = "heartbeat.deleted",
    HeartbeatState = "heartbeat.state",
    IncidentOpened = "incident.opened",
    IncidentChanged = "incident.changed",
    IncidentStatus = "incident.status",
    IncidentReopened = "incident.reopened",
    IncidentMerged = "incident.merged",
    IncidentUnmerged = "incident.unmerged",
    IncidentTookMerged = "incident.took_merged",
    IncidentGaveBack = "incident.gave_back",
    IncidentSplit = "incident.split",
    UpdateMissed = "incident.update_missed",
    TimelineAdded = "timeline.added",
    AffectedAdded = "affected.added",
    AffectedRemoved = "affected.removed",
    PeopleAdded = "people.added",
    PeopleRemoved = "people.removed",
    ComparisonCreated = "comparison.created",
    ComparisonUploaded = "comparison.uploaded",
    ComparisonRequested = "comparison.requested",
    ComparisonDone = "comparison.done",
    ComparisonApplied = "comparison.applied",
    ComparisonDiscarded = "comparison.discarded",
    RecoveryImpaired = "recovery.impaired",
    RecoveryBegun = "recovery.begun",
    RecoveryObserved = "recovery.observed",
    RecoveryRelapsed = "recovery.relapsed",
    AttestationAsked = "recovery.attestation_asked",
    AttestationConfirmed = "recovery.attestation_confirmed",
    AttestationWithdrawn = "recovery.attestation_withdrawn",
    NextStepAdded = "next_step.added",
    NextStepChanged = "next_step.changed",
    ComponentPut = "component.put",
    ComponentDeleted = "component.deleted",
    PostAdded = "post.added",
    PostChanged = "post.changed",
    PostDeleted = "post.deleted",
    ReportWritten = "report.written",
    ReportPublished = "report.published",
    ReportUnpublished = "report.unpublished",
    ReportCorrected = "report.corrected",
    ReportMailed = "report.mailed",
    TemplateSaved = "template.saved",
    TemplateRestored = "template.restored",
    TemplateReset = "template.reset",
    NoticeDrafted = "notice.drafted",
    NoticeCorrects = "notice.corrects",
    NoticeChanged = "notice.changed",
    NoticeValuesReplaced = "notice.values_replaced",
    NoticeApprovalAsked = "notice.approval_asked",
    NoticeApproved = "notice.approved",
    BreakGlassUsed = "break_glass.used",
    BreakGlassRehearsed = "break_glass.rehearsed",
    NoticeTested = "notice.tested",
    NoticeDiscarded = "notice.discarded",
    LimitsChanged = "limits.changed",
    BrandChanged = "brand.changed",
    BrandLogoChanged = "brand.logo_changed",
    BrandLogoRemoved = "brand.logo_removed",
    NoticeQueued = "notice.queued",
    NoticeExpanded = "notice.expanded",
    NoticeStopped = "notice.stopped",
    NoticeResumed = "notice.resumed",
    NoticeHeld = "notice.held",
    WaveBegan = "notice.wave_began",
    WaveEnded = "notice.wave_ended",
    NoticeFinished = "notice.finished",
    DeliveryAttempts = "delivery.attempts",
    DeliveryResent = "delivery.resent",
    DeliveryBounced = "delivery.bounced",
    MailServerFails = "mail_server.fails",
    MailServerWorks = "mail_server.works",
    FeedbackReceived = "feedback.received",
    AnswerRecorded = "answer.recorded",
    AnswersReminded = "answers.reminded",
    OptedOut = "address.opted_out",
    OptedIn = "address.opted_in",
    AddressSuppressed = "address.suppressed",
    SuppressionLifted = "address.suppression_lifted",
    PolicyCreated = "policy.created",
    PolicyChanged = "policy.changed",
    PolicyDeleted = "policy.deleted",
    AutomationWaits = "automation.waits",
    AutomationDecided = "automation.decided",
    AutomationHeld = "automation.held",
    AutomationReleased = "automation.released",
    OperatorCreated = "operator.created",
    OperatorChanged = "operator.changed",
    OperatorDeleted = "operator.deleted",
    OperatorTested = "operator.tested",
    OperatorTold = "operator.told",
    OperatorGivenUp = "operator.given_up",
    EvidenceExported = "evidence.exported",
    AuditCheckpointStored = "audit.checkpoint_stored",
    AuditTimeStamped = "audit.time_stamped",
    DatabaseRestored = "database.restored",
    BackupRequested = "backup.requested",
    BackupMade = "backup.made",
    BackupFailed = "backup.failed",
    BackupChecked = "backup.checked",
    BackupCheckFailed = "backup.check_failed",
    BackupRemoved = "backup.removed",
    ContactsCopied = "contacts.copied",
    ContactsFailed = "contacts.failed",
    EmergencyImported = "emergency.imported",
}

impl Action {
    /// Returns whether an event with this action wakes the subscribers of the trail.
    pub(super) fn wakes_subscribers(self) -> bool {
        matches!(
            self,
            Action::IncidentOpened
                | Action::IncidentReopened
                | Action::RecoveryObserved
                | Action::AttestationConfirmed
                | Action::NoticeFinished
                | Action::NoticeHeld
                | Action::DeliveryBounced
                | Action::AutomationDecided
                | Action::BreakGlassUsed
                | Action::SyncFailed
                | Action::SyncStopped
                | Action::ComponentPut
                | Action::ComponentDeleted
                | Action::PostAdded
                | Action::PostChanged
                | Action::PostDeleted
                | Action::ReportPublished
                | Action::ReportCorrected
                | Action::ReportUnpublished
                | Action::IncidentMerged
                | Action::IncidentUnmerged
                | Action::PersonErased
        )
    }
}
