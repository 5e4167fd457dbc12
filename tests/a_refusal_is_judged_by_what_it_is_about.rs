//! Replies of large providers and mail servers. Each test decides whether the recipient's mailbox is to
//! cause, so that the address gets no more optional notices. If it is not certain, the mailbox is not to
//! cause.

use candor::delivery::refusal::{FailureCause, judge};

use FailureCause::{Mailbox, Other};

/// The origin of the reply, the status of the report (empty if there is none), the reply, and what is to
/// cause.
type Case = (&'static str, &'static str, &'static str, FailureCause);

/// The mailbox or the domain does not exist, or the mailbox is closed.
const UNKNOWN: &[Case] = &[
    (
        "Gmail",
        "5.1.1",
        "550-5.1.1 The email account that you tried to reach does not exist. Please try 550-5.1.1 double-checking the recipient's email address for typos or 550-5.1.1 unnecessary spaces. For more information, go to 550 5.1.1 https://support.google.com/mail/?p=NoSuchUser",
        Mailbox,
    ),
    (
        "Gmail",
        "5.2.1",
        "550 5.2.1 The email account that you tried to reach is disabled. For more information, go to https://support.google.com/mail/?p=DisabledUser",
        Mailbox,
    ),
    (
        "Gmail",
        "",
        "550-5.2.1 The email account that you tried to reach is inactive. For more information, go to https://support.google.com/mail/?p=InactiveUser",
        Mailbox,
    ),
    (
        "Microsoft 365",
        "5.1.10",
        "550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient kim@example.com not found by SMTP address lookup",
        Mailbox,
    ),
    (
        "Microsoft 365",
        "5.4.1",
        "550 5.4.1 Recipient address rejected: Access denied. AS(201806281) [DB5EUR01FT034.eop-EUR01.prod.protection.outlook.com]",
        Mailbox,
    ),
    (
        "Microsoft 365",
        "5.4.310",
        "550 5.4.310 DNS domain example.invalid does not exist [Message=InfoDomainNonexistent]",
        Mailbox,
    ),
    ("Exchange", "5.1.1", "550 5.1.1 User unknown", Mailbox),
    (
        "Exchange 2010",
        "5.1.1",
        "#550 5.1.1 RESOLVER.ADR.RecipNotFound; not found ##rfc822;kim@example.com",
        Mailbox,
    ),
    (
        "Outlook.com",
        "5.5.0",
        "550 5.5.0 Requested action not taken: mailbox unavailable (S2017062302).",
        Mailbox,
    ),
    (
        "Hotmail",
        "",
        "550 Requested action not taken: mailbox unavailable",
        Mailbox,
    ),
    (
        "Yahoo",
        "",
        "554 delivery error: dd This user doesn't have a yahoo.com account (kim@yahoo.com) [0] - mta1.example.com",
        Mailbox,
    ),
    (
        "Yahoo",
        "5.0.0",
        "554 delivery error: dd Sorry, your message to kim@example.org cannot be delivered. This mailbox is disabled (554.30). - mta1.example.org",
        Mailbox,
    ),
    (
        "Yahoo",
        "",
        "554 delivery error: dd Not a valid recipient - atlas123.mail.example.com",
        Mailbox,
    ),
    (
        "Yahoo",
        "",
        "554 30 Sorry, your message to kim@yahoo.com cannot be delivered. This mailbox is disabled (554.30).",
        Mailbox,
    ),
    (
        "AOL",
        "5.1.1",
        "550 5.1.1 <kim@aol.com>: Recipient address rejected: aol.com",
        Mailbox,
    ),
    (
        "iCloud",
        "5.1.1",
        "550 5.1.1 <kim@icloud.com>: user does not exist",
        Mailbox,
    ),
    (
        "iCloud",
        "5.1.1",
        "550 5.1.1 unknown or illegal alias: kim@me.com",
        Mailbox,
    ),
    (
        "GMX",
        "",
        "550 Requested action not taken: mailbox unavailable For explanation visit https://postmaster.gmx.net/en/error-messages?ip=192.0.2.1",
        Mailbox,
    ),
    (
        "web.de",
        "",
        "550 kim@web.de Benutzer hat zuviele Mails auf dem Server? Nein: Empfänger unbekannt",
        Mailbox,
    ),
    (
        "T-Online",
        "",
        "550 5.1.1 <kim@t-online.de>: Unbekannter Empfaenger / unknown recipient",
        Mailbox,
    ),
    (
        "Orange",
        "5.1.1",
        "550 5.1.1 Adresse d au moins un destinataire invalide. Invalid recipient. OFR_416 [416]",
        Mailbox,
    ),
    (
        "Free",
        "",
        "550 5.1.1 <kim@free.fr>: Recipient address rejected: Boîte inexistante / User unknown",
        Mailbox,
    ),
    ("La Poste", "", "550 Utilisateur inconnu !", Mailbox),
    (
        "Mail.ru",
        "",
        "550 Message was not accepted -- invalid mailbox. Local mailbox kim@mail.ru is unavailable: user not found",
        Mailbox,
    ),
    (
        "Mail.ru",
        "",
        "550 Message was not accepted -- invalid mailbox. Local mailbox kim@mail.ru is unavailable: user is terminated",
        Mailbox,
    ),
    ("Yandex", "5.7.1", "550 5.7.1 No such user!", Mailbox),
    (
        "QQ",
        "",
        "550 Mailbox not found. http://service.mail.qq.com/cgi-bin/help?subtype=1&&id=20022&&no=1000728",
        Mailbox,
    ),
    (
        "QQ",
        "",
        "550 Mailbox unavailable or access denied [MxA9lZLiYvXo]",
        Other,
    ),
    ("163", "", "550 User not found: kim@163.com", Mailbox),
    ("163", "", "550 User suspended: kim@163.com", Mailbox),
    (
        "Naver",
        "5.1.1",
        "550 5.1.1 This recipient does not exist in this system - nsmtp",
        Mailbox,
    ),
    (
        "Libero",
        "5.1.1",
        "550 <kim@libero.it> recipient rejected: nessun utente simile in questo indirizzo, utente sconosciuto",
        Mailbox,
    ),
    ("Terra", "", "550 No existe dicha persona", Mailbox),
    (
        "UOL",
        "",
        "550 5.1.1 <kim@uol.com.br>: Usuário não existe",
        Mailbox,
    ),
    ("Comcast", "5.1.1", "550 5.1.1 Not our Customer", Mailbox),
    (
        "Verizon",
        "",
        "550 4.2.1 mailbox temporarily disabled: kim@verizon.net",
        Other,
    ),
    ("AT&T", "", "550 5.1.1 - invalid address: kim@att.net", Mailbox),
    (
        "Cox",
        "",
        "550 5.1.0 <kim@cox.net> recipient rejected: account is closed",
        Mailbox,
    ),
    (
        "Postfix",
        "5.1.1",
        "550 5.1.1 <kim@example.com>: Recipient address rejected: User unknown in virtual mailbox table",
        Mailbox,
    ),
    (
        "Postfix",
        "",
        "550 5.1.1 <kim@example.com>: Recipient address rejected: User unknown in local recipient table",
        Mailbox,
    ),
    ("Postfix", "5.1.1", "unknown user: \"kim\"", Mailbox),
    (
        "Postfix",
        "5.4.4",
        "Host or domain name not found. Name service error for name=example.invalid type=AAAA: Host not found",
        Mailbox,
    ),
    (
        "Postfix",
        "5.1.10",
        "556 5.1.10 Recipient address has null MX",
        Mailbox,
    ),
    (
        "Postfix",
        "5.1.2",
        "550 5.1.2 <kim@example.invalid>: Recipient address rejected: Domain not found",
        Mailbox,
    ),
    ("Exim", "", "550 Unrouteable address", Mailbox),
    ("Exim", "5.0.0", "550 No such user here", Mailbox),
    (
        "Exim",
        "",
        "550 \"The mail server could not deliver mail to kim@example.com. The account or domain may not exist, they may be blacklisted, or missing the proper dns entries.\"",
        Other,
    ),
    (
        "qmail",
        "",
        "550 Sorry, no mailbox here by that name. (#5.1.1)",
        Mailbox,
    ),
    (
        "qmail",
        "5.1.1",
        "Sorry, no mailbox here by that name. vpopmail (#5.1.1)",
        Mailbox,
    ),
    (
        "qmail",
        "5.1.2",
        "Sorry, I couldn't find any host named example.invalid. (#5.1.2)",
        Mailbox,
    ),
    (
        "Sendmail",
        "5.1.1",
        "550 5.1.1 <kim@example.com>... User unknown",
        Mailbox,
    ),
    (
        "Sendmail",
        "5.1.2",
        "550 5.1.2 <kim@example.invalid>... Host unknown (Name server: example.invalid: host not found)",
        Mailbox,
    ),
    (
        "Zimbra",
        "5.1.1",
        "550 5.1.1 <kim@example.com>: Recipient address rejected: example.com",
        Mailbox,
    ),
    (
        "Barracuda",
        "",
        "550 permanent failure for one or more recipients (kim@example.com:550 5.1.1 RESOLVER.ADR.RecipNotFound; not found)",
        Mailbox,
    ),
    ("Proofpoint", "5.1.1", "550 5.1.1 User Unknown", Mailbox),
    (
        "Mimecast",
        "",
        "550 Invalid Recipient - https://community.mimecast.com/docs/DOC-1369#550 [abc.uk1]",
        Mailbox,
    ),
    ("Cisco", "5.1.0", "550 #5.1.0 Address rejected.", Mailbox),
    (
        "Lotus Domino",
        "5.0.0",
        "554 kim@example.com... No such user",
        Mailbox,
    ),
    (
        "Lotus Domino",
        "",
        "550 kim@example.com... User not listed in public Name & Address Book: not found",
        Mailbox,
    ),
    (
        "Novell GroupWise",
        "5.3.0",
        "550 5.3.0 Unknown E-Mail Address",
        Mailbox,
    ),
    ("MDaemon", "", "550 Recipient unknown <kim@example.com>", Mailbox),
    (
        "MailEnable",
        "",
        "550 Requested action not taken: mailbox unavailable or not local",
        Mailbox,
    ),
    ("IMail", "", "550 unknown user <kim@example.com>", Mailbox),
    (
        "Communigate",
        "5.1.1",
        "550 kim@example.com account is unknown",
        Mailbox,
    ),
    (
        "a small server",
        "",
        "550 No such person at this address",
        Mailbox,
    ),
    (
        "a small server",
        "5.3.0",
        "550 5.3.0 No such person at this address.",
        Mailbox,
    ),
    ("a small server", "5.0.0", "550 Addressee unknown", Mailbox),
    (
        "a small server",
        "5.3.0",
        "553 5.3.0 <kim@example.com>... Addressee unknown, relay=[192.0.2.1]",
        Mailbox,
    ),
    (
        "a small server",
        "",
        "550 5.1.1 no such user - check the address and try again",
        Mailbox,
    ),
    (
        "a small server",
        "",
        "550 This address no longer accepts mail.",
        Mailbox,
    ),
    (
        "a small server",
        "5.2.0",
        "550 5.2.0 account has been disabled",
        Mailbox,
    ),
    (
        "a small server",
        "5.7.1",
        "550 5.7.1 <kim@example.com>: recipient does not exist here",
        Mailbox,
    ),
];

/// The mailbox may exist.
const SOMETHING_ELSE: &[Case] = &[
    (
        "Gmail",
        "5.2.1",
        "550-5.2.1 The user you are trying to contact is receiving mail at a rate that 550-5.2.1 prevents additional messages from being delivered. For more 550-5.2.1 information, please visit 550 5.2.1 https://support.google.com/mail/?p=ReceivingRatePerm",
        Other,
    ),
    (
        "Gmail",
        "5.2.1",
        "550 5.2.1 The user you are trying to contact is receiving mail too quickly. Please resend your message at a later time",
        Other,
    ),
    (
        "A relay that counts messages",
        "5.7.1",
        "550 5.7.1 <kim@example.com>: Recipient address rejected: you send messages too fast, try another day",
        Other,
    ),
    (
        "Gmail",
        "5.2.2",
        "552-5.2.2 The email account that you tried to reach is over quota. Please direct 552-5.2.2 the recipient to 552 5.2.2 https://support.google.com/mail/?p=OverQuotaPerm",
        Other,
    ),
    (
        "Gmail",
        "5.7.26",
        "550-5.7.26 This mail has been blocked because the sender is unauthenticated. 550-5.7.26 Gmail requires all senders to authenticate with either SPF or DKIM.",
        Other,
    ),
    (
        "Gmail",
        "5.7.1",
        "550-5.7.1 [192.0.2.1 12] Our system has detected that this message is 550-5.7.1 likely unsolicited mail. To reduce the amount of spam sent to Gmail, 550-5.7.1 this message has been blocked.",
        Other,
    ),
    (
        "Gmail",
        "5.7.25",
        "550-5.7.25 [192.0.2.1] The IP address sending this message does not have a PTR record setup, or the corresponding forward DNS entry does not point to the sending IP.",
        Other,
    ),
    (
        "Gmail",
        "5.7.1",
        "550-5.7.1 The IP you're using to send mail is not authorized to send email directly to our servers.",
        Other,
    ),
    (
        "Gmail",
        "5.4.5",
        "550 5.4.5 Daily user sending limit exceeded. For more information on Gmail sending limits go to https://support.google.com/a/answer/166852",
        Other,
    ),
    (
        "Microsoft 365",
        "5.1.90",
        "550 5.1.90 Your message can't be sent because you've reached your daily limit for message recipients",
        Other,
    ),
    (
        "Microsoft 365",
        "5.7.705",
        "550 5.7.705 Access denied, tenant has exceeded threshold",
        Other,
    ),
    (
        "Microsoft 365",
        "5.7.606",
        "550 5.7.606 Access denied, banned sending IP [192.0.2.1]. To request removal from this list please visit https://sender.office.com/",
        Other,
    ),
    (
        "Microsoft 365",
        "5.7.133",
        "550 5.7.133 RESOLVER.RST.SenderNotAuthenticatedForGroup; authentication required; Delivery restriction check failed because the sender was not authenticated when sending to this group",
        Other,
    ),
    (
        "Microsoft 365",
        "5.2.2",
        "554 5.2.2 mailbox full; STOREDRV.Deliver.Exception:QuotaExceededException",
        Other,
    ),
    (
        "Microsoft 365",
        "5.4.14",
        "554 5.4.14 Hop count exceeded - possible mail loop ATTR34",
        Other,
    ),
    (
        "Microsoft 365",
        "5.4.316",
        "550 5.4.316 Message expired, connection refused(Socket error code 10061)",
        Other,
    ),
    (
        "Microsoft 365",
        "5.1.8",
        "501 5.1.8 Access denied, bad outbound sender.",
        Other,
    ),
    (
        "Microsoft 365",
        "5.6.11",
        "550 5.6.11 SMTPSEND.BareLinefeedsAreIllegal; message contains bare linefeeds",
        Other,
    ),
    (
        "Outlook.com",
        "5.7.1",
        "550 5.7.1 Unfortunately, messages from [192.0.2.1] weren't sent. Please contact your Internet service provider since part of their network is on our block list (S3150).",
        Other,
    ),
    (
        "Hotmail",
        "",
        "550 SC-001 (COL004-MC1F1) Unfortunately, messages from 192.0.2.1 weren't sent. Your network is on our block list.",
        Other,
    ),
    (
        "Yahoo",
        "5.7.9",
        "554 5.7.9 Message not accepted for policy reasons. See https://postmaster.yahooinc.com/error-codes",
        Other,
    ),
    (
        "Yahoo",
        "",
        "553 5.7.1 [BL21] Connections will not be accepted from 192.0.2.1, because the ip is in Spamhaus's list",
        Other,
    ),
    (
        "Yahoo",
        "",
        "552 1 Requested mail action aborted, mailbox full",
        Other,
    ),
    (
        "AOL",
        "",
        "521 5.2.1 :  (CON:B1)  https://postmaster.aol.com/error-codes#554conb1 too many connections",
        Other,
    ),
    (
        "iCloud",
        "5.7.0",
        "550 5.7.0 Blocked - see https://support.proofpoint.com/dnsbl-lookup.cgi?ip=192.0.2.1",
        Other,
    ),
    (
        "iCloud",
        "5.2.2",
        "552 5.2.2 <kim@icloud.com>: user is over quota",
        Other,
    ),
    (
        "iCloud",
        "5.7.1",
        "550 5.7.1 [CS01] Message rejected due to local policy. Please visit https://support.apple.com/en-us/HT204137",
        Other,
    ),
    (
        "GMX",
        "",
        "554-Transaction failed 554-Reject due to policy restrictions. 554 For explanation visit https://postmaster.gmx.net/en/error-messages",
        Other,
    ),
    (
        "GMX",
        "",
        "550-Requested action not taken: mailbox unavailable 550 Sender address is not allowed",
        Other,
    ),
    (
        "web.de",
        "",
        "552-Requested mail action aborted: exceeded storage allocation 552 Quota exceeded",
        Other,
    ),
    (
        "Orange",
        "5.2.0",
        "550 5.2.0 Mail rejete. Mail rejected. ofr_506 [506]",
        Other,
    ),
    (
        "Orange",
        "5.1.0",
        "550 5.1.0 Adresse emetteur invalide. Invalid sender address OFR004_405 [405]",
        Other,
    ),
    (
        "Orange",
        "5.1.0",
        "550 5.1.0 <m1@example.com> sender rejected. See https://isp.example/codes for more information. AUP#In-1310",
        Other,
    ),
    (
        "Orange",
        "",
        "550 5.5.0 Boîte du destinataire pleine. Recipient overquota. OFR_417",
        Other,
    ),
    (
        "Free",
        "",
        "550 Too many spams from your IP (192.0.2.1), please visit http://postmaster.free.fr/",
        Other,
    ),
    (
        "Mail.ru",
        "",
        "550 spam message rejected. Please visit http://help.mail.ru/notspam-support/id?c=abc",
        Other,
    ),
    (
        "Mail.ru",
        "",
        "552 Mailbox overflow, ящик переполнен: quota",
        Other,
    ),
    (
        "Yandex",
        "5.7.1",
        "554 5.7.1 [1] Message rejected under suspicion of SPAM; https://ya.cc/1IrBc",
        Other,
    ),
    (
        "QQ",
        "",
        "550 Domain may not exist or DNS check failed: Connection frequency limited for your IP",
        Other,
    ),
    (
        "QQ",
        "",
        "550 Mail content denied. http://service.mail.qq.com/cgi-bin/help?subtype=1&&id=20022&&no=1000726",
        Other,
    ),
    (
        "163",
        "",
        "554 DT:SPM 163 smtp5, please see http://mail.163.com/help/help_spam_16.htm",
        Other,
    ),
    (
        "163",
        "",
        "550 MI:DMC 163 mx12 The sender's domain does not pass SPF",
        Other,
    ),
    (
        "Comcast",
        "",
        "554 5.7.1 resimta - comcast 192.0.2.1 Comcast BL004 Blocked for spam.",
        Other,
    ),
    (
        "Postfix",
        "5.7.1",
        "554 5.7.1 <kim@example.com>: Relay access denied",
        Other,
    ),
    (
        "Postfix",
        "5.1.8",
        "550 5.1.8 <m1@example.com>: Sender address rejected: Domain not found",
        Other,
    ),
    (
        "Postfix",
        "5.1.0",
        "550 5.1.0 <m1@example.com>: Sender address rejected: User unknown in relay recipient table",
        Other,
    ),
    (
        "Postfix",
        "5.7.1",
        "554 5.7.1 Service unavailable; Client host [192.0.2.1] blocked using zen.spamhaus.org",
        Other,
    ),
    (
        "Postfix",
        "5.7.25",
        "550 5.7.25 Client host rejected: cannot find your hostname, [192.0.2.1]",
        Other,
    ),
    (
        "Postfix",
        "5.3.4",
        "552 5.3.4 Message size exceeds fixed limit",
        Other,
    ),
    (
        "Postfix",
        "4.4.1",
        "connect to mx.example.com[192.0.2.1]:25: Connection timed out",
        Other,
    ),
    (
        "Postfix",
        "4.1.1",
        "450 4.1.1 <kim@example.com>: Recipient address rejected: unverified address: User unknown",
        Other,
    ),
    ("Exim", "", "550 Sender verify failed", Other),
    (
        "Exim",
        "",
        "550-Verification failed for <m1@example.com> 550-No such person at this address 550 Sender verify failed",
        Other,
    ),
    ("Exim", "", "550 relay not permitted", Other),
    ("qmail", "5.1.1", "user over quota. (#5.1.1)", Other),
    (
        "qmail",
        "",
        "553 sorry, that domain isn't in my list of allowed rcpthosts (#5.7.1)",
        Other,
    ),
    (
        "Sendmail",
        "5.7.1",
        "550 5.7.1 kim@example.com... Relaying denied. IP name lookup failed",
        Other,
    ),
    (
        "Sendmail",
        "5.1.8",
        "553 5.1.8 <m1@example.com>... Domain of sender address m1@example.com does not exist",
        Other,
    ),
    ("Zimbra", "5.2.2", "552 5.2.2 Over quota", Other),
    (
        "Barracuda",
        "",
        "550 rejected. See https://www.barracudacentral.org/reputation?ip=192.0.2.1 your IP has a poor reputation",
        Other,
    ),
    (
        "Barracuda",
        "5.0.0",
        "554 Service unavailable; Client host [192.0.2.1] blocked by bl.barracudacentral.org",
        Other,
    ),
    (
        "Proofpoint",
        "5.7.0",
        "554 5.7.0 Blocked - see https://ipcheck.proofpoint.com/?ip=192.0.2.1",
        Other,
    ),
    (
        "Mimecast",
        "",
        "554 Email rejected due to security policies - https://community.mimecast.com/docs/DOC-1369#554",
        Other,
    ),
    (
        "Mimecast",
        "",
        "550 Administrative prohibition - envelope blocked - https://community.mimecast.com/docs/DOC-1369",
        Other,
    ),
    ("Cisco", "", "554 5.2.2 mailbox full", Other),
    (
        "Cisco",
        "5.0.0",
        "<192.0.2.9 #5.0.0 smtp; 552 5.2.2 mailbox full, quota exceeded>",
        Other,
    ),
    (
        "Sophos",
        "5.7.1",
        "550 5.7.1 Message rejected due to content restrictions",
        Other,
    ),
    (
        "Amazon",
        "",
        "554 Message rejected: Email address is not verified. The following identities failed the check",
        Other,
    ),
    ("a small server", "5.0.0", "", Other),
    ("a small server", "5.0.0", "554 5.0.0 Service unavailable", Other),
    ("a small server", "5.2.0", "550 5.2.0 Message refused", Other),
    ("a small server", "", "550 5.7.1 Access denied", Other),
    (
        "a small server",
        "",
        "550 Greylisted, please try again in 5 minutes",
        Other,
    ),
    (
        "a small server",
        "",
        "550 too many unknown recipients in this session",
        Other,
    ),
    (
        "a small server",
        "5.3.2",
        "554 5.3.2 system not accepting network messages",
        Other,
    ),
    (
        "a small server",
        "",
        "550 DMARC policy: message from unknown user domain does not exist",
        Other,
    ),
];

#[test]
fn replies_of_the_world_are_judged_by_what_they_are_about() {
    assert!(UNKNOWN.len() + SOMETHING_ELSE.len() >= 120);
    let mut wrong = Vec::new();
    for (server, status, reply, cause) in UNKNOWN.iter().chain(SOMETHING_ELSE) {
        let status = (!status.is_empty()).then_some(*status);
        let judged = judge(status, reply);
        if judged != *cause {
            wrong.push(format!("{server}: {status:?} {reply}: {judged:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// The text is that of the server, even if another program reports it. Another case, other line breaks or
/// another address do not change the result.
#[test]
fn the_way_in_which_a_reply_is_written_changes_nothing() {
    for (server, status, reply, cause) in UNKNOWN.iter().chain(SOMETHING_ELSE) {
        let status = (!status.is_empty()).then_some(*status);
        for written in [
            reply.to_uppercase(),
            reply.replace(' ', "\r\n  "),
            reply.replace("kim@", "spam.policy-blocked@"),
            format!("smtp; {reply}"),
        ] {
            assert_eq!(judge(status, &written), *cause, "{server}: {status:?} {written}");
        }
    }
}
