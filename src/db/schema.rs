//! The tables as diesel knows them. This file is written by hand, in the order of the migrations. A test
//! compares it with both databases.

diesel::table! {
    settings (name) {
        name -> Text,
        value -> Text,
    }
}

diesel::table! {
    counters (name) {
        name -> Text,
        value -> BigInt,
    }
}

diesel::table! {
    api_tokens (id) {
        id -> Text,
        name -> Text,
        role -> Text,
        hash -> Text,
        created_at -> BigInt,
        revoked_at -> Nullable<BigInt>,
        person -> Nullable<Text>,
        expires_at -> Nullable<BigInt>,
        last_used_at -> Nullable<BigInt>,
    }
}

diesel::table! {
    idempotency_keys (id) {
        id -> Text,
        owner -> Text,
        key -> Text,
        request_hash -> Text,
        state -> Text,
        status -> Nullable<BigInt>,
        content_type -> Nullable<Text>,
        body -> Nullable<Binary>,
        created_at -> BigInt,
    }
}

diesel::table! {
    audit_events (seq) {
        seq -> BigInt,
        at -> BigInt,
        actor_kind -> Text,
        actor_id -> Text,
        actor_name -> Text,
        action -> Text,
        subject_type -> Text,
        subject_id -> Text,
        incident_id -> Nullable<Text>,
        before_json -> Nullable<Text>,
        after_json -> Nullable<Text>,
        prev_hash -> Text,
        hash -> Text,
    }
}

diesel::table! {
    audit_head (id) {
        id -> BigInt,
        seq -> BigInt,
        hash -> Text,
        at -> BigInt,
    }
}

diesel::table! {
    accounts (key) {
        key -> BigInt,
        id -> Text,
        name -> Text,
        locale -> Nullable<Text>,
        time_zone -> Nullable<Text>,
        labels -> Text,
        gone_at -> Nullable<BigInt>,
        created_at -> BigInt,
        updated_at -> BigInt,
    }
}

diesel::table! {
    people (key) {
        key -> BigInt,
        id -> Text,
        name -> Text,
        email -> Text,
        locale -> Nullable<Text>,
        time_zone -> Nullable<Text>,
        gone_at -> Nullable<BigInt>,
        created_at -> BigInt,
        updated_at -> BigInt,
    }
}

diesel::table! {
    resources (key) {
        key -> BigInt,
        #[sql_name = "type"]
        type_ -> Text,
        id -> Text,
        name -> Nullable<Text>,
        account_key -> Nullable<BigInt>,
        parent_key -> Nullable<BigInt>,
        gone_at -> Nullable<BigInt>,
        created_at -> BigInt,
        updated_at -> BigInt,
    }
}

diesel::table! {
    resource_labels (resource_key, name) {
        resource_key -> BigInt,
        name -> Text,
        value -> Text,
        since -> BigInt,
    }
}

diesel::table! {
    resource_label_history (resource_key, name, valid_from) {
        resource_key -> BigInt,
        name -> Text,
        value -> Text,
        valid_from -> BigInt,
        valid_to -> BigInt,
    }
}

diesel::table! {
    account_label_history (account_key, valid_from) {
        account_key -> BigInt,
        labels -> Text,
        valid_from -> BigInt,
        valid_to -> BigInt,
    }
}

diesel::table! {
    members (account_key, person_key) {
        account_key -> BigInt,
        person_key -> BigInt,
        role -> Text,
        gone_at -> Nullable<BigInt>,
        created_at -> BigInt,
        updated_at -> BigInt,
    }
}

diesel::table! {
    collaborators (resource_key, person_key) {
        resource_key -> BigInt,
        person_key -> BigInt,
        role -> Text,
        gone_at -> Nullable<BigInt>,
        created_at -> BigInt,
        updated_at -> BigInt,
    }
}

diesel::table! {
    endpoints (id) {
        id -> Text,
        account_key -> Nullable<BigInt>,
        person_key -> Nullable<BigInt>,
        channel -> Text,
        url -> Text,
        secret -> Nullable<Text>,
        consent -> Nullable<Text>,
        disabled_at -> Nullable<BigInt>,
        disabled_reason -> Nullable<Text>,
        gone_at -> Nullable<BigInt>,
        created_at -> BigInt,
        updated_at -> BigInt,
    }
}

diesel::table! {
    incidents (id) {
        id -> Text,
        number -> BigInt,
        title -> Text,
        severity -> Text,
        status -> Text,
        summary -> Nullable<Text>,
        time_zone -> Nullable<Text>,
        started_at -> BigInt,
        detected_at -> BigInt,
        resolved_at -> Nullable<BigInt>,
        created_at -> BigInt,
        updated_at -> BigInt,
        earlier_id -> Nullable<Text>,
        alerts_received -> BigInt,
        alert_count -> BigInt,
        episode -> BigInt,
        drill -> Bool,
        headline -> Nullable<Text>,
        owner -> Nullable<Text>,
        merged_into -> Nullable<Text>,
    }
}

diesel::table! {
    incident_merges (incident_id) {
        incident_id -> Text,
        into_id -> Text,
        merged_at -> BigInt,
        merged_by -> Text,
        reason -> Nullable<Text>,
        status_before -> Text,
        resolved_at -> Nullable<BigInt>,
        into_started_at -> Nullable<BigInt>,
        episode_shift -> BigInt,
    }
}

diesel::table! {
    merged_links (kind, key) {
        kind -> Text,
        key -> Text,
        home_id -> Text,
    }
}

diesel::table! {
    merged_rows (into_id, kind, key) {
        into_id -> Text,
        kind -> Text,
        key -> BigInt,
        taken_at -> BigInt,
        removed_at -> Nullable<BigInt>,
        relevance -> Nullable<Text>,
        was -> Nullable<Text>,
    }
}

diesel::table! {
    incident_episodes (incident_id, episode) {
        incident_id -> Text,
        episode -> BigInt,
        reopened_at -> BigInt,
        resolved_before -> BigInt,
    }
}

diesel::table! {
    notice_authors (notice_id, actor_id) {
        notice_id -> Text,
        actor_id -> Text,
        at -> BigInt,
    }
}

diesel::table! {
    notice_approvals (id) {
        id -> BigInt,
        notice_id -> Text,
        kind -> Text,
        digest -> Nullable<Text>,
        token_id -> Text,
        token_name -> Text,
        person -> Text,
        role -> Nullable<Text>,
        reason -> Nullable<Text>,
        at -> BigInt,
        expires_at -> Nullable<BigInt>,
    }
}

diesel::table! {
    approved_notices (notice_id) {
        notice_id -> Text,
        kind -> Text,
        at -> BigInt,
    }
}

diesel::table! {
    timeline_entries (id) {
        id -> BigInt,
        incident_id -> Text,
        at -> BigInt,
        utc_offset -> BigInt,
        kind -> Text,
        text -> Text,
        internal -> Bool,
        automatic -> Bool,
        author -> Text,
        created_at -> BigInt,
    }
}

diesel::table! {
    incident_resources (incident_id, resource_key) {
        incident_id -> Text,
        resource_key -> BigInt,
        source -> Text,
        added_at -> BigInt,
        removed_at -> Nullable<BigInt>,
        relevance -> Text,
        finding -> Nullable<Text>,
        as_of -> Nullable<BigInt>,
    }
}

diesel::table! {
    incident_people (incident_id, person_key) {
        incident_id -> Text,
        person_key -> BigInt,
        source -> Text,
        relevance -> Text,
        added_at -> BigInt,
        removed_at -> Nullable<BigInt>,
        finding -> Nullable<Text>,
        as_of -> Nullable<BigInt>,
    }
}

diesel::table! {
    recovery_states (incident_id, resource_key) {
        incident_id -> Text,
        resource_key -> BigInt,
        state -> Text,
        expected -> Nullable<Text>,
        impaired_from -> BigInt,
        wrong_at -> BigInt,
        changed_at -> BigInt,
        recovered_at -> Nullable<BigInt>,
        attested -> Bool,
    }
}

diesel::table! {
    recovery_changes (id) {
        id -> BigInt,
        incident_id -> Text,
        resource_key -> BigInt,
        was -> Nullable<Text>,
        state -> Text,
        happened_at -> BigInt,
        recorded_at -> BigInt,
        source -> Text,
        evidence -> Nullable<Text>,
        actor -> Text,
    }
}

diesel::table! {
    recovery_attestations (id) {
        id -> Text,
        incident_id -> Text,
        reason -> Text,
        asked_by -> Text,
        asked_name -> Text,
        asked_at -> BigInt,
        state -> Text,
        ended_by -> Nullable<Text>,
        ended_name -> Nullable<Text>,
        ended_at -> Nullable<BigInt>,
    }
}

diesel::table! {
    recovery_attested (attestation_id, resource_key) {
        attestation_id -> Text,
        resource_key -> BigInt,
    }
}

diesel::table! {
    next_steps (id) {
        id -> Text,
        incident_id -> Text,
        text -> Text,
        owner -> Text,
        link -> Nullable<Text>,
        due_on -> Nullable<Text>,
        done_at -> Nullable<BigInt>,
        created_at -> BigInt,
        updated_at -> BigInt,
    }
}

diesel::table! {
    reports (incident_id) {
        incident_id -> Text,
        title -> Text,
        sections -> Text,
        published -> Nullable<Text>,
        published_at -> Nullable<BigInt>,
        updated_at -> BigInt,
        version -> BigInt,
        published_version -> Nullable<BigInt>,
        first_published_at -> Nullable<BigInt>,
        corrections -> Text,
    }
}

diesel::table! {
    report_versions (incident_id, number) {
        incident_id -> Text,
        number -> BigInt,
        title -> Text,
        sections -> Text,
        author -> Text,
        at -> BigInt,
    }
}

diesel::table! {
    integrations (id) {
        id -> Text,
        name -> Text,
        source -> Text,
        token_hash -> Text,
        secret -> Nullable<Text>,
        mapping -> Nullable<Text>,
        resource_rules -> Text,
        open_incident -> Bool,
        gone_at -> Nullable<BigInt>,
        created_at -> BigInt,
        updated_at -> BigInt,
        secrets -> Text,
        version -> BigInt,
    }
}

diesel::table! {
    hook_requests (id) {
        id -> BigInt,
        integration_id -> Text,
        received_at -> BigInt,
        accepted -> Bool,
        detail -> Text,
        body -> Binary,
        method -> Text,
        query -> Text,
        headers -> Text,
    }
}

diesel::table! {
    alerts (id) {
        id -> Text,
        integration_id -> Text,
        fingerprint -> Text,
        status -> Text,
        severity -> Text,
        title -> Text,
        text -> Text,
        labels -> Text,
        link -> Nullable<Text>,
        started_at -> BigInt,
        ended_at -> Nullable<BigInt>,
        incident_id -> Nullable<Text>,
        repeats -> BigInt,
        received_at -> BigInt,
        last_received_at -> BigInt,
        rule_id -> Nullable<Text>,
        group_shown -> Nullable<Text>,
        quiet_id -> Nullable<Text>,
        event_at -> Nullable<BigInt>,
        event_seen_at -> Nullable<BigInt>,
        late_events -> BigInt,
        recorded_why -> Nullable<Text>,
        notes -> Nullable<Text>,
    }
}

diesel::table! {
    alert_references (alert_id, resource_type, resource_id) {
        alert_id -> Text,
        incident_id -> Nullable<Text>,
        resource_type -> Text,
        resource_id -> Text,
        resolved -> Bool,
        seen_at -> BigInt,
    }
}

diesel::table! {
    templates (id) {
        id -> Text,
        phase -> Text,
        subject -> Text,
        body_text -> Text,
        body_html -> Text,
        created_at -> BigInt,
        languages -> Nullable<Text>,
    }
}

diesel::table! {
    template_versions (phase, number) {
        phase -> Text,
        number -> BigInt,
        template_id -> Text,
        builtin -> Bool,
        saved_by -> Nullable<Text>,
        saved_at -> BigInt,
    }
}

diesel::table! {
    current_templates (phase) {
        phase -> Text,
        template_id -> Text,
    }
}

diesel::table! {
    notices (id) {
        id -> Text,
        incident_id -> Text,
        phase -> Text,
        state -> Text,
        subject -> Nullable<Text>,
        message -> Text,
        customer_action -> Nullable<Text>,
        catch_up_of -> Nullable<Text>,
        drafted_by -> Text,
        approved_by -> Nullable<Text>,
        approved_digest -> Nullable<Text>,
        digest -> Nullable<Text>,
        template_id -> Nullable<Text>,
        frozen -> Nullable<Text>,
        recipients -> BigInt,
        expand_cursor -> BigInt,
        created_at -> BigInt,
        updated_at -> BigInt,
        queued_at -> Nullable<BigInt>,
        finished_at -> Nullable<BigInt>,
        endpoints -> BigInt,
        audience -> Nullable<Text>,
        episode -> BigInt,
        unreachable -> BigInt,
        headline -> Nullable<Text>,
        next_update_due_at -> Nullable<BigInt>,
        acknowledge_impaired -> Bool,
        translations -> Nullable<Text>,
    }
}

diesel::table! {
    missed_updates (notice_id) {
        notice_id -> Text,
        incident_id -> Text,
        due_at -> BigInt,
        missed_at -> BigInt,
    }
}

diesel::table! {
    notice_values (notice_id, person_id) {
        notice_id -> Text,
        person_id -> Text,
        given -> Text,
    }
}

diesel::table! {
    admin_sessions (id) {
        id -> Text,
        token_id -> Text,
        created_at -> BigInt,
        expires_at -> BigInt,
    }
}

diesel::table! {
    notice_recipients (notice_id, ordinal) {
        notice_id -> Text,
        ordinal -> BigInt,
        person_id -> Text,
        name -> Text,
        address -> Text,
        optional -> Bool,
        context -> Text,
        domain -> Text,
        channel -> Text,
    }
}

diesel::table! {
    shared_recipients (person_id, notice_id, ordinal) {
        person_id -> Text,
        notice_id -> Text,
        ordinal -> BigInt,
    }
}

diesel::table! {
    deliveries (id) {
        id -> BigInt,
        notice_id -> Text,
        ordinal -> BigInt,
        channel -> Text,
        address -> Text,
        state -> Text,
        attempt -> BigInt,
        lease -> Nullable<Text>,
        next_attempt_at -> BigInt,
        expires_at -> BigInt,
        sent_at -> Nullable<BigInt>,
        message_id -> Text,
        domain -> Text,
        reason -> Nullable<Text>,
        ambiguous -> BigInt,
        deferred_until -> Nullable<BigInt>,
    }
}

diesel::table! {
    delivery_receipts (lease, seq) {
        lease -> Text,
        seq -> BigInt,
        body -> Text,
    }
}

diesel::table! {
    delivery_counts (notice_id, channel, state) {
        notice_id -> Text,
        channel -> Text,
        state -> Text,
        count -> BigInt,
    }
}

diesel::table! {
    delivery_attempts (delivery_id, attempt) {
        delivery_id -> BigInt,
        attempt -> BigInt,
        at -> BigInt,
        outcome -> Text,
        reply -> Text,
        batch -> Text,
        mail_hash -> Nullable<Binary>,
        mail_context -> Nullable<BigInt>,
        mail_date -> Nullable<BigInt>,
        mail_signatures -> Nullable<Binary>,
        relay -> Nullable<Text>,
    }
}

diesel::table! {
    mail_servers (address) {
        address -> Text,
        position -> BigInt,
        failing_since -> Nullable<BigInt>,
        taken_over_by -> Nullable<Text>,
        changed_at -> BigInt,
    }
}

diesel::table! {
    maintenances (incident_id) {
        incident_id -> Text,
        number -> BigInt,
        title -> Text,
        message -> Text,
        starts_at -> BigInt,
        ends_at -> BigInt,
        state -> Text,
        sequence -> BigInt,
        components -> Text,
        began_at -> Nullable<BigInt>,
        over_at -> Nullable<BigInt>,
        created_by -> Text,
        created_at -> BigInt,
        updated_at -> BigInt,
    }
}

diesel::table! {
    maintenance_notices (notice_id) {
        notice_id -> Text,
        incident_id -> Text,
        change -> Text,
        sequence -> BigInt,
        was_starts_at -> Nullable<BigInt>,
        was_ends_at -> Nullable<BigInt>,
    }
}

diesel::table! {
    brand_logos (sha256) {
        sha256 -> Text,
        media -> Text,
        content -> Binary,
        created_at -> BigInt,
    }
}

diesel::table! {
    sending_settings (digest) {
        digest -> Text,
        body -> Text,
        created_at -> BigInt,
    }
}

diesel::table! {
    sending_contexts (id) {
        id -> BigInt,
        settings -> Text,
        checkpoint -> Text,
        created_at -> BigInt,
    }
}

diesel::table! {
    opt_outs (address) {
        address -> Text,
        at -> BigInt,
        reason -> Text,
    }
}

diesel::table! {
    feedback (id) {
        id -> BigInt,
        dedup_key -> Text,
        received_at -> BigInt,
        at -> BigInt,
        source -> Text,
        integration_id -> Nullable<Text>,
        kind -> Text,
        address -> Text,
        delivery_id -> Nullable<BigInt>,
        attempt -> Nullable<BigInt>,
        matched_by -> Nullable<Text>,
        effect -> Text,
        status -> Nullable<Text>,
        diagnostic -> Text,
        raw -> Binary,
    }
}

diesel::table! {
    feedback_tokens (integration_id, token) {
        integration_id -> Text,
        token -> Text,
        body_hash -> Text,
        seen_at -> BigInt,
    }
}

diesel::table! {
    account_history (account_key, valid_from) {
        account_key -> BigInt,
        gone -> Bool,
        valid_from -> BigInt,
        valid_to -> BigInt,
    }
}

diesel::table! {
    directory_sources (id) {
        id -> Text,
        name -> Text,
        kind -> Text,
        url -> Nullable<Text>,
        secret -> Nullable<Text>,
        queries -> Text,
        schedule -> Nullable<Text>,
        max_gone_percent -> BigInt,
        stale_after -> BigInt,
        next_run_at -> Nullable<BigInt>,
        last_success_at -> Nullable<BigInt>,
        gone_at -> Nullable<BigInt>,
        created_at -> BigInt,
        updated_at -> BigInt,
        max_left_out_percent -> BigInt,
    }
}

diesel::table! {
    person_history (person_key, valid_from) {
        person_key -> BigInt,
        gone -> Bool,
        valid_from -> BigInt,
        valid_to -> BigInt,
    }
}

diesel::table! {
    directory_runs (id) {
        id -> Text,
        source_id -> Text,
        state -> Text,
        cause -> Text,
        requested_by -> Text,
        confirmed_by -> Nullable<Text>,
        done -> BigInt,
        total -> BigInt,
        changes -> Nullable<Text>,
        errors -> Nullable<Text>,
        lease -> Nullable<Text>,
        lease_until -> BigInt,
        created_at -> BigInt,
        started_at -> Nullable<BigInt>,
        finished_at -> Nullable<BigInt>,
    }
}

diesel::table! {
    resource_history (resource_key, valid_from) {
        resource_key -> BigInt,
        account_key -> Nullable<BigInt>,
        parent_key -> Nullable<BigInt>,
        gone -> Bool,
        valid_from -> BigInt,
        valid_to -> BigInt,
    }
}

diesel::table! {
    directory_staged (run_id, kind, key) {
        run_id -> Text,
        kind -> BigInt,
        key -> Text,
        parent -> Nullable<Text>,
        level -> Nullable<BigInt>,
        seq -> BigInt,
        change -> Nullable<Text>,
        line -> Text,
        left_out -> Nullable<Text>,
        reason -> Nullable<Text>,
    }
}

diesel::table! {
    member_history (account_key, person_key, valid_from) {
        account_key -> BigInt,
        person_key -> BigInt,
        role -> Text,
        gone -> Bool,
        valid_from -> BigInt,
        valid_to -> BigInt,
    }
}

diesel::table! {
    directory_origins (kind, key) {
        kind -> BigInt,
        key -> Text,
        source_id -> Text,
    }
}

diesel::table! {
    collaborator_history (resource_key, person_key, valid_from) {
        resource_key -> BigInt,
        person_key -> BigInt,
        role -> Text,
        gone -> Bool,
        valid_from -> BigInt,
        valid_to -> BigInt,
    }
}

diesel::table! {
    directory_lookups (resource_type, resource_id) {
        resource_type -> Text,
        resource_id -> Text,
        state -> Text,
        reason -> Nullable<Text>,
        attempts -> BigInt,
        asked_at -> BigInt,
        expires_at -> BigInt,
    }
}

diesel::table! {
    alert_chains (alert_id) {
        alert_id -> Text,
        chains -> Text,
    }
}

diesel::table! {
    alert_people (alert_id, mark) {
        alert_id -> Text,
        mark -> Text,
        id_mark -> Nullable<Text>,
        email_mark -> Nullable<Text>,
        person_key -> Nullable<BigInt>,
        matched_by -> Nullable<Text>,
        events -> BigInt,
        first_seen_at -> BigInt,
        last_seen_at -> BigInt,
    }
}

diesel::table! {
    alert_rules (id) {
        id -> Text,
        position -> BigInt,
        name -> Text,
        integration_id -> Nullable<Text>,
        matchers -> Text,
        group_by -> Text,
        severity -> Text,
        resources -> Text,
        policy -> Text,
        reopen_within -> BigInt,
        gone_at -> Nullable<BigInt>,
        created_at -> BigInt,
        updated_at -> BigInt,
    }
}

diesel::table! {
    incident_starts (incident_id) {
        incident_id -> Text,
        set_at -> BigInt,
    }
}

diesel::table! {
    incident_titles (incident_id) {
        incident_id -> Text,
        set_at -> BigInt,
    }
}

diesel::table! {
    checks (id) {
        id -> Text,
        name -> Text,
        target -> Text,
        headers -> Text,
        every_seconds -> BigInt,
        severity -> Text,
        resources -> Text,
        paused -> Bool,
        state -> Text,
        failures -> BigInt,
        successes -> BigInt,
        failing_since -> Nullable<BigInt>,
        changed_at -> Nullable<BigInt>,
        told_at -> Nullable<BigInt>,
        result -> Nullable<Text>,
        due_at -> BigInt,
        version -> BigInt,
        gone_at -> Nullable<BigInt>,
        created_at -> BigInt,
        updated_at -> BigInt,
    }
}

diesel::table! {
    alert_messages (integration_id, message_id) {
        integration_id -> Text,
        message_id -> Text,
        received_at -> BigInt,
    }
}

diesel::table! {
    alert_keys (integration_id, key) {
        integration_id -> Text,
        key -> Text,
        fingerprint -> Text,
        used_at -> BigInt,
    }
}

diesel::table! {
    alert_source_groups (key) {
        key -> Text,
        integration_id -> Text,
        incident_id -> Text,
        names -> Text,
        title -> Text,
        updated_at -> BigInt,
        alerts -> BigInt,
    }
}

diesel::table! {
    alert_groups (rule_id, key) {
        rule_id -> Text,
        key -> Text,
        incident_id -> Text,
        updated_at -> BigInt,
    }
}

diesel::table! {
    heartbeats (id) {
        id -> Text,
        name -> Text,
        token_hash -> Text,
        every_seconds -> BigInt,
        grace_seconds -> BigInt,
        severity -> Text,
        resources -> Text,
        state -> Text,
        beats -> BigInt,
        last_beat_at -> Nullable<BigInt>,
        deadline_at -> Nullable<BigInt>,
        changed_at -> Nullable<BigInt>,
        told_at -> Nullable<BigInt>,
        gone_at -> Nullable<BigInt>,
        created_at -> BigInt,
        updated_at -> BigInt,
    }
}

diesel::table! {
    quiet_periods (id) {
        id -> Text,
        kind -> Text,
        name -> Text,
        matchers -> Text,
        resources -> Text,
        starts_at -> BigInt,
        ends_at -> BigInt,
        schedule -> Nullable<Text>,
        duration -> Nullable<BigInt>,
        ended_at -> Nullable<BigInt>,
        created_by -> Text,
        created_at -> BigInt,
    }
}

diesel::table! {
    preferences (person) {
        person -> Text,
        time_zone -> Nullable<Text>,
        updated_at -> BigInt,
    }
}

diesel::table! {
    comparisons (id) {
        id -> Text,
        incident_id -> Text,
        name -> Text,
        definition -> Text,
        expected_listing -> Nullable<BigInt>,
        observed_listing -> Nullable<BigInt>,
        created_by -> Text,
        created_at -> BigInt,
        discarded_at -> Nullable<BigInt>,
    }
}

diesel::table! {
    comparison_listings (id) {
        id -> BigInt,
        comparison_id -> Text,
        side -> Text,
        state -> Text,
        staged -> Bool,
        row_count -> BigInt,
        rejected -> BigInt,
        errors -> Text,
        bytes -> BigInt,
        sha256 -> Nullable<Text>,
        sorted_runs -> BigInt,
        uploaded_by -> Text,
        observed_at -> BigInt,
        began_at -> BigInt,
        touched_at -> BigInt,
        completed_at -> Nullable<BigInt>,
    }
}

diesel::table! {
    comparison_blocks (listing_id, sorted_run, seq) {
        listing_id -> BigInt,
        sorted_run -> BigInt,
        seq -> BigInt,
        last_key -> Binary,
        content -> Binary,
    }
}

diesel::table! {
    comparison_runs (id) {
        id -> BigInt,
        comparison_id -> Text,
        number -> BigInt,
        state -> Text,
        expected_listing -> BigInt,
        observed_listing -> BigInt,
        requested_by -> Text,
        requested_at -> BigInt,
        started_at -> Nullable<BigInt>,
        finished_at -> Nullable<BigInt>,
        cursor_key -> Nullable<Binary>,
        settled_after -> BigInt,
        done -> BigInt,
        counts -> Text,
        lease -> Nullable<Text>,
        lease_until -> BigInt,
    }
}

diesel::table! {
    comparison_findings (run_id, seq) {
        run_id -> BigInt,
        seq -> BigInt,
        kind -> Text,
        key -> Text,
        reference -> Nullable<Text>,
        compared_column -> Nullable<Text>,
        expected -> Nullable<Text>,
        observed -> Nullable<Text>,
        expected_values -> Nullable<Text>,
        written_at -> Nullable<BigInt>,
    }
}

diesel::table! {
    comparison_applied (comparison_id, listing_key, target_key) {
        comparison_id -> Text,
        listing_key -> Text,
        target_key -> BigInt,
        kind -> Text,
        run_id -> BigInt,
        seq -> BigInt,
        seen_run -> Nullable<BigInt>,
        fits -> Nullable<Bool>,
        observed -> Nullable<Text>,
    }
}

diesel::table! {
    backups (id) {
        id -> Text,
        state -> Text,
        cause -> Text,
        active -> Nullable<BigInt>,
        due_at -> Nullable<BigInt>,
        requested_by -> Text,
        requested_at -> BigInt,
        started_at -> Nullable<BigInt>,
        finished_at -> Nullable<BigInt>,
        file -> Nullable<Text>,
        bytes -> Nullable<BigInt>,
        events -> Nullable<BigInt>,
        error -> Nullable<Text>,
        removed_at -> Nullable<BigInt>,
        check_state -> Text,
        checked_at -> Nullable<BigInt>,
        check_error -> Nullable<Text>,
        lease -> Nullable<Text>,
        lease_until -> BigInt,
    }
}

diesel::table! {
    contacts_copies (file) {
        file -> Text,
        made_at -> Nullable<BigInt>,
        bytes -> Nullable<BigInt>,
        accounts -> Nullable<BigInt>,
        people -> Nullable<BigInt>,
        failed_at -> Nullable<BigInt>,
        error -> Nullable<Text>,
    }
}

diesel::table! {
    emergency_notices (id) {
        id -> Text,
        incident_id -> Text,
        subject -> Text,
        message -> Text,
        digest -> Text,
        began_at -> BigInt,
        ended_at -> BigInt,
        lines -> BigInt,
        head -> Text,
        imported_by -> Text,
        imported_at -> BigInt,
    }
}

diesel::table! {
    emergency_recipients (notice_id, person_id) {
        notice_id -> Text,
        person_id -> Text,
        accounts -> Text,
        state -> Text,
        at -> BigInt,
    }
}

diesel::allow_tables_to_appear_in_same_query!(
    public_posts,
    status_components,
    status_mails,
    status_subscribers,
    settings,
    counters,
    api_tokens,
    feed_keys,
    feed_reads,
    person_choices,
    idempotency_keys,
    audit_checkpoints,
    audit_events,
    audit_head,
    audit_tiles,
    audit_time_stamps,
    accounts,
    people,
    resources,
    resource_labels,
    resource_label_history,
    account_label_history,
    members,
    collaborators,
    endpoints,
    incidents,
    incident_episodes,
    incident_merges,
    merged_links,
    merged_rows,
    timeline_entries,
    incident_resources,
    incident_people,
    recovery_states,
    recovery_changes,
    recovery_attestations,
    recovery_attested,
    next_steps,
    reports,
    report_versions,
    integrations,
    hook_requests,
    alerts,
    alert_references,
    alert_rules,
    alert_groups,
    alert_keys,
    alert_messages,
    alert_source_groups,
    quiet_periods,
    templates,
    template_versions,
    current_templates,
    admin_sessions,
    preferences,
    backups,
    contacts_copies,
    emergency_notices,
    emergency_recipients,
    comparisons,
    comparison_listings,
    comparison_blocks,
    comparison_runs,
    comparison_findings,
    comparison_applied,
    notices,
    notice_authors,
    notice_approvals,
    approved_notices,
    notice_recipients,
    shared_recipients,
    deliveries,
    delivery_counts,
    delivery_attempts,
    mail_servers,
    maintenances,
    maintenance_notices,
    brand_logos,
    sending_settings,
    sending_contexts,
    delivery_receipts,
    opt_outs,
    feedback,
    feedback_tokens,
    answers,
    answer_reminders,
    notice_waves,
    notice_corrections,
    discarded_notices,
    drill_addresses,
    missed_updates,
    notice_values,
    account_history,
    person_history,
    resource_history,
    member_history,
    collaborator_history,
    directory_sources,
    directory_runs,
    directory_staged,
    directory_origins,
    directory_lookups,
    alert_chains,
    alert_people,
    incident_starts,
    incident_titles,
    checks,
    heartbeats,
    trail_cursors,
    automation_policies,
    automation_recoveries,
    automation_recovery_runs,
    automation_runs,
    automation_told,
    operators,
    operator_messages,
    erasures,
    erasure_marks,
    erased_rows,
    erased_recipients,
);

diesel::table! {
    trail_cursors (name) {
        name -> Text,
        seq -> BigInt,
    }
}

diesel::table! {
    automation_policies (id) {
        id -> Text,
        position -> BigInt,
        enabled -> Bool,
        policy -> Text,
        created_at -> BigInt,
        updated_at -> BigInt,
    }
}

diesel::table! {
    automation_recoveries (incident_id) {
        incident_id -> Text,
        policy_id -> Text,
        policy_name -> Text,
        due_at -> Nullable<BigInt>,
        last_at -> Nullable<BigInt>,
        attempts -> BigInt,
        action -> Text,
        expected_at -> Nullable<BigInt>,
        held_by -> Nullable<Text>,
        held_at -> Nullable<BigInt>,
    }
}

diesel::table! {
    automation_recovery_runs (incident_id, number) {
        incident_id -> Text,
        number -> BigInt,
        episode -> BigInt,
        policy_id -> Text,
        policy_name -> Text,
        action -> Text,
        outcome -> Text,
        reason -> Nullable<Text>,
        notice_id -> Nullable<Text>,
        opened_at -> BigInt,
        due_at -> BigInt,
        decided_at -> BigInt,
    }
}

diesel::table! {
    automation_runs (incident_id, episode) {
        incident_id -> Text,
        policy_id -> Text,
        policy_name -> Text,
        action -> Text,
        state -> Text,
        outcome -> Nullable<Text>,
        reason -> Nullable<Text>,
        notice_id -> Nullable<Text>,
        opened_at -> BigInt,
        due_at -> BigInt,
        attempts -> BigInt,
        decided_at -> Nullable<BigInt>,
        episode -> BigInt,
        held_by -> Nullable<Text>,
        held_at -> Nullable<BigInt>,
    }
}

diesel::table! {
    automation_told (account_id, incident_id, episode) {
        account_id -> Text,
        incident_id -> Text,
        at -> BigInt,
        episode -> BigInt,
    }
}

diesel::table! {
    operators (id) {
        id -> Text,
        name -> Text,
        email -> Nullable<Text>,
        webhook_kind -> Nullable<Text>,
        webhook_url -> Nullable<Text>,
        events -> Text,
        severities -> Nullable<Text>,
        enabled -> Bool,
        gone_at -> Nullable<BigInt>,
        created_at -> BigInt,
        updated_at -> BigInt,
    }
}

diesel::table! {
    operator_messages (id) {
        id -> Text,
        operator_id -> Text,
        channel -> Text,
        event -> Text,
        key -> Text,
        incident_id -> Nullable<Text>,
        facts -> Text,
        state -> Text,
        attempts -> BigInt,
        lease -> Nullable<Text>,
        next_attempt_at -> BigInt,
        expires_at -> BigInt,
        created_at -> BigInt,
        finished_at -> Nullable<BigInt>,
        reply -> Nullable<Text>,
    }
}

diesel::table! {
    answers (id) {
        id -> BigInt,
        incident_id -> Text,
        person_id -> Text,
        address -> Text,
        notice_id -> Nullable<Text>,
        delivery_id -> Nullable<BigInt>,
        answer -> Nullable<Text>,
        text -> Text,
        at -> BigInt,
        received_at -> BigInt,
        source -> Text,
        recorded_by -> Nullable<Text>,
        feedback_id -> Nullable<BigInt>,
    }
}

diesel::table! {
    answer_reminders (notice_id) {
        notice_id -> Text,
        created_at -> BigInt,
    }
}

diesel::table! {
    notice_waves (notice_id) {
        notice_id -> Text,
        ends -> Text,
        pause -> Nullable<BigInt>,
        wave -> BigInt,
        upto -> BigInt,
        ended_at -> Nullable<BigInt>,
        next_at -> Nullable<BigInt>,
        held_because -> Nullable<Text>,
    }
}

diesel::table! {
    notice_corrections (notice_id) {
        notice_id -> Text,
        corrects -> Text,
        created_at -> BigInt,
    }
}

diesel::table! {
    discarded_notices (notice_id) {
        notice_id -> Text,
        incident_id -> Text,
        at -> BigInt,
    }
}

diesel::table! {
    drill_addresses (notice_id, address) {
        notice_id -> Text,
        address -> Text,
    }
}

diesel::table! {
    erasures (id) {
        id -> Text,
        kind -> Text,
        at -> BigInt,
        erased_by -> Text,
        reason -> Text,
        placeholder -> Nullable<Text>,
        counts -> Text,
        cleaned_at -> Nullable<BigInt>,
        allowed_at -> Nullable<BigInt>,
        allowed_by -> Nullable<Text>,
    }
}

diesel::table! {
    erasure_marks (erasure_id, mark) {
        erasure_id -> Text,
        mark -> Text,
        kind -> Text,
        suppression -> Nullable<Text>,
        suppressed_at -> Nullable<BigInt>,
    }
}

diesel::table! {
    erased_rows (kind, key, erasure_id) {
        kind -> Text,
        key -> Text,
        erasure_id -> Text,
        applied -> Bool,
    }
}

diesel::table! {
    erased_recipients (notice_id, ordinal, erasure_id) {
        notice_id -> Text,
        ordinal -> BigInt,
        erasure_id -> Text,
        person_salt -> Text,
        person_commitment -> Text,
        address_salt -> Text,
        address_commitment -> Text,
    }
}

diesel::table! {
    audit_tiles (level, number) {
        level -> BigInt,
        number -> BigInt,
        root -> Binary,
    }
}

diesel::table! {
    audit_checkpoints (size) {
        size -> BigInt,
        at -> BigInt,
        origin -> Text,
        root -> Binary,
        note -> Text,
        key -> Text,
    }
}

diesel::table! {
    audit_time_stamps (id) {
        id -> Text,
        size -> BigInt,
        at -> BigInt,
        authority -> Text,
        stamped_at -> BigInt,
        serial -> Text,
        response -> Binary,
    }
}

diesel::table! {
    status_components (id) {
        id -> Text,
        name -> Text,
        group_name -> Nullable<Text>,
        position -> BigInt,
        selector -> Nullable<Text>,
        gone_at -> Nullable<BigInt>,
        created_at -> BigInt,
        updated_at -> BigInt,
    }
}

diesel::table! {
    public_posts (id) {
        id -> Text,
        incident_id -> Text,
        status -> Text,
        title -> Nullable<Text>,
        message -> Text,
        components -> Text,
        translations -> Text,
        at -> BigInt,
        created_at -> BigInt,
        updated_at -> BigInt,
    }
}

diesel::table! {
    status_subscribers (id) {
        id -> BigInt,
        address -> Text,
        language -> Text,
        created_at -> BigInt,
        asked_at -> BigInt,
        questions -> BigInt,
        confirmed_at -> Nullable<BigInt>,
    }
}

diesel::table! {
    status_mails (id) {
        id -> BigInt,
        subscriber_id -> BigInt,
        post_id -> Nullable<Text>,
        state -> Text,
        attempts -> BigInt,
        lease -> Nullable<Text>,
        next_attempt_at -> BigInt,
        expires_at -> BigInt,
        created_at -> BigInt,
        finished_at -> Nullable<BigInt>,
        reply -> Nullable<Text>,
    }
}

diesel::table! {
    feed_keys (id) {
        id -> Text,
        name -> Text,
        secret -> Text,
        origins -> Text,
        created_at -> BigInt,
        revoked_at -> Nullable<BigInt>,
    }
}

diesel::table! {
    feed_reads (person_key) {
        person_key -> BigInt,
        read_up_to -> BigInt,
        updated_at -> BigInt,
    }
}

diesel::table! {
    person_choices (person_key) {
        person_key -> BigInt,
        locale -> Nullable<Text>,
        time_zone -> Nullable<Text>,
        updated_at -> BigInt,
    }
}

diesel::joinable!(directory_runs -> directory_sources (source_id));
diesel::joinable!(endpoints -> accounts (account_key));
diesel::joinable!(endpoints -> people (person_key));
diesel::joinable!(operator_messages -> operators (operator_id));
diesel::joinable!(alerts -> incidents (incident_id));
diesel::joinable!(deliveries -> notices (notice_id));
diesel::joinable!(notices -> incidents (incident_id));
diesel::joinable!(incident_resources -> resources (resource_key));
diesel::joinable!(incident_people -> people (person_key));
diesel::joinable!(recovery_states -> resources (resource_key));
diesel::joinable!(recovery_attested -> recovery_attestations (attestation_id));
diesel::joinable!(members -> accounts (account_key));
diesel::joinable!(members -> people (person_key));
diesel::joinable!(person_choices -> people (person_key));
diesel::joinable!(feed_reads -> people (person_key));
diesel::joinable!(collaborators -> resources (resource_key));
diesel::joinable!(collaborators -> people (person_key));
diesel::joinable!(erasure_marks -> erasures (erasure_id));
