//! Finds what the words of a server's reply are about: the recipient, the sender, a full mailbox, a rate
//! limit or a policy.
//!
//! Servers use many words for one reason, so most patterns contain a noun and a statement about it, in either
//! order. Addresses and links are removed before the search, because `no-reply@policy.example` says nothing
//! about a policy.

use std::sync::LazyLock;

use regex::{Regex, RegexSet};

/// The number of bytes of a text that are read. A reply has a few hundred.
const READ: usize = 8_000;

/// The facts in a text. Several can be true, for example if a rejection because of a policy names the
/// recipient.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Facts {
    /// The sender is to blame, that is its address or its domain.
    pub sender: bool,
    /// The mailbox exists, but it has no space, or no space for an email of this size.
    pub full: bool,
    /// Too many emails were sent in a period.
    pub rate: bool,
    /// The server says that the failure is temporary.
    pub passing: bool,
    /// The mailbox or the domain does not exist.
    pub gone: bool,
    /// The mailbox existed earlier and is closed.
    pub closed: bool,
    /// The recipient was rejected without a reason.
    pub rejected: bool,
    /// The failure is about authentication, reputation or lists of senders.
    pub listed: bool,
    /// The failure is about another policy, the content, or relaying.
    pub policy: bool,
}

impl Facts {
    pub fn of(text: &str) -> Facts {
        let Some(patterns) = PATTERNS.as_ref() else {
            return Facts::default();
        };
        let text = patterns.readable(text);
        let says = |set: &RegexSet| set.is_match(&text);
        Facts {
            sender: says(&patterns.sender),
            full: says(&patterns.full),
            rate: says(&patterns.rate),
            passing: says(&patterns.passing),
            gone: says(&patterns.gone),
            closed: says(&patterns.closed),
            rejected: says(&patterns.rejected),
            listed: says(&patterns.listed),
            policy: says(&patterns.policy),
        }
    }

    /// Returns whether the words say that the recipient's mailbox is not to blame, whatever the code is.
    pub fn clears_the_recipient(self) -> bool {
        // "No such user, check the address and try again" is still about the recipient.
        self.sender || self.full || self.rate || ((self.passing || self.listed) && !self.gone)
    }

    /// Returns whether the words report the failure of an email. `policy` and `passing` are left out, because
    /// many other emails also say that something is not allowed or is temporary.
    pub fn speak_of_a_failure(self) -> bool {
        self.sender || self.full || self.rate || self.gone || self.closed || self.rejected || self.listed
    }
}

struct Patterns {
    address: Regex,
    link: Regex,
    space: Regex,
    sender: RegexSet,
    full: RegexSet,
    rate: RegexSet,
    passing: RegexSet,
    gone: RegexSet,
    closed: RegexSet,
    rejected: RegexSet,
    listed: RegexSet,
    policy: RegexSet,
}

static PATTERNS: LazyLock<Option<Patterns>> = LazyLock::new(|| {
    Some(Patterns {
        // An address is replaced by one word, so that "user <…> unknown" still reads as a sentence about a
        // user.
        address: Regex::new(r"<[^<>\s]*@[^<>\s]*>|[^\s<>:;,(]+@[^\s<>:;,)]+").ok()?,
        link: Regex::new(r"(?i)https?://\S+|www\.\S+").ok()?,
        space: Regex::new(r"[\s_]+").ok()?,
        sender: RegexSet::new(SENDER).ok()?,
        full: RegexSet::new(FULL).ok()?,
        rate: RegexSet::new(RATE).ok()?,
        passing: RegexSet::new(PASSING).ok()?,
        gone: RegexSet::new(GONE).ok()?,
        closed: RegexSet::new(CLOSED).ok()?,
        rejected: RegexSet::new(REJECTED).ok()?,
        listed: RegexSet::new(LISTED).ok()?,
        policy: RegexSet::new(POLICY).ok()?,
    })
});

impl Patterns {
    /// Returns the text in lower case, without addresses, links and repeated white space.
    fn readable(&self, text: &str) -> String {
        let mut end = text.len().min(READ);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let text = text[..end].to_lowercase().replace(['’', '`'], "'");
        let text = self.link.replace_all(&text, " ");
        let text = self.address.replace_all(&text, " mailboxname ");
        // A reply of several lines repeats its code, for example "550-5.1.1 no such 550-5.1.1 user".
        static AGAIN: LazyLock<Option<Regex>> =
            LazyLock::new(|| Regex::new(r"\b[45]\d\d[- ](#?[45]\.\d{1,3}\.\d{1,3} ?)?").ok());
        let text = match AGAIN.as_ref() {
            Some(again) => again.replace_all(&text, " ").into_owned(),
            None => text.into_owned(),
        };
        self.space.replace_all(&text, " ").into_owned()
    }
}

/// The sender is rejected. Examples are "Sender address rejected", "Invalid sender", "Domain of sender does
/// not exist" in reply to `MAIL FROM`.
const SENDER: &[&str] = &[
    r"\bsender(s|'s)?( (ip|e-?mail|mail|envelope|address|domain|host|id|name|is|was|has|been|mailboxname|not|could|be|on)){0,6} (rejected|refused|denied|blocked|blacklisted|disallowed|unknown|invalid|forged|verif|fail|allowed|accepted|authori[sz]ed|approved|exist|found|resolve|empty|spammer)",
    r"\b(invalid|bad|bogus|unrout(e)?able|unknown|unverified|forged|illegal|spoofed|unauthori[sz]ed|envelope|null) (envelope |e-?mail |mail )?sender",
    r"\bsender (verify|verification|callout|callback|policy)",
    r"\bdomain of (the )?sender",
    r"\bsender('s)? (address|domain|e-?mail)[^.;]{0,60}(does not|doesn't|not exist|no mx|has no|must|cannot|can't|not found)",
    r"\b(mail from|return-?path|envelope[- ]from|from address|from domain|from: (address|domain)|purported responsible address|originat(or|ing) (address|domain))\b[^;]{0,60}\b(rejected|refused|denied|invalid|unknown|fail|failed|not|must|command|bogus|does|is not)\b",
    r"in reply to mail\b",
    r"\b(emetteur|émetteur|expediteur|expéditeur|absender|remitente|mittente|remetente|отправител|avsändare|afzender|nadawc)",
    r"\b(isn't|is not|not) (on|in) the recipient's list",
    r"\b(recipient|user)( \S+)? (only )?accept(s|ing)? (only )?mail (only )?from",
];

/// The mailbox or the disk is full, or the email is too large.
const FULL: &[&str] = &[
    r"\bquotas?\b",
    r"over ?quota",
    r"\b(mail ?box|mailfolder|inbox|account|maildir|storage|disk|user)\b[^.;]{0,40}\b(is |was |are )?full\b",
    r"\bfull (mail ?box|inbox)",
    r"(insufficient|not enough|not sufficient|no|out of|exceeded( its)?( the)?( allocated)?) ?(system |disk |mailbox |disc )?(storage|space)\b",
    r"does not have enough space|space has been used up|disk full|storage (limit|allocation)",
    r"too (large|big)\b|\bsize (limit|exceed)|exceeds? [^.;]{0,40}\bsize\b|message size|\bmaximum (message )?size",
    r"mailbox (size|would exceed|exceeded|has exceeded)",
    r"too many messages (on|in) (the |this )?(server|mailbox)",
    r"\b(boite|boîte)[^.;]{0,30} pleine|postfach[^.;]{0,20} voll|speicherplatz|casella[^.;]{0,20} piena|buz[oó]n[^.;]{0,20} lleno|caixa[^.;]{0,20} cheia|переполнен",
];

/// There were too many emails, recipients or connections in a period.
const RATE: &[&str] = &[
    r"\bat a rate\b|rate[- ]?limit|\brate of\b|\bsending rate\b|slow down|again slower",
    r"\b(daily|hourly|sending|recipient|connection|message|frequency|receiving|per[- ](hour|day|minute|domain|ip)) (user )?(sending |message )?(limit|limits|limited|quota)\b",
    r"\blimit (for|on|of) (message|recipient|the number|mail|e-?mail)",
    r"\b(exceed(ed|s|ing)?|reached) [^.;]{0,50}\b(limit|maximum|max|number|rate)\b",
    r"\btoo many\b|\btoo (much|frequent|frequently|fast|quickly|often)\b|throttl|\bflood",
    r"\b(mails?|messages|e-?mails) per (hour|day|minute|second)\b",
    r"trop de (connexions|messages|mails)|слишком много",
];

/// Words that say that the failure is temporary.
const PASSING: &[&str] = &[
    r"\btemporar(y|ily|ly)\b|\btransient\b|momentan|vorübergehend|temporairement",
    r"gr[ea]y-?list|\btry (again|it again|later)|\bretry later|come back later|please retry",
    r"timed? ?out\b|connection (refused|reset|lost)|\bno route to host\b",
    r"\bmail loop|\bloops? (back|detected)|routing loop|too many hops|hop count",
];

/// The mailbox or the domain does not exist.
const GONE: &[&str] = &[
    r"\b(unknown|no such|invalid|bad|non-?existent|non existent|inexistent|unrecogni[sz]ed|not an? (valid|known|real|active|existing|local|registered|hosted)|unrout(e)?able|non-?existing|wrong|incorrect)[ :/-]+((e-?mail|mail|local|virtual|destination|final|target|smtp|gateway|forward|or|invalid|unknown|inactive|recipient|user|mailbox|this|envelope|the|mailboxname)[ /-]+){0,4}(users?|username|recipients?|mail ?box(es)?|mailid|address(es)?|addressee|account|person|customer|subscriber|local[ -]?parts?|mail ?drop|alias)\b",
    r"\b(users?|username|user name|recipients?|mail ?box|mailboxname|addressee|address(es)?|account|person|customer|subscriber|local[ -]?part|name)\b[^.;]{0,60}?\b(unknown|not known|not found|(does|do|did)(n't| not) exist|not exist(ing)?|not exists|non-?existent|(is|was|are) (invalid|wrong|incorrect)|not (be )?recogni[sz]ed|not a valid|(could|can)(n't| not|not) be found|(was|were|is)(n't| not) found|not present|not listed|not available in|may not exist)\b",
    r"\b(no|aucun|kein|nessun|ning[uú]n) (mail ?box|user|account|one|person|recipient|such)\b[^.;]{0,40}\b(here|by that name|by this name|with that|with this|at this|at that|found|available|named|called|in this|exists)",
    r"\b(users?|recipients?|mail ?box|address|mailboxname)( mailboxname)? (invalid|wrong|incorrect)\b",
    r"\bno mail ?box\b",
    r"recip(ient)?notfound|recipient notfound|resolver\.adr|nosuchuser|userunknown|user-unknown",
    r"(does not|doesn't) have an? [^;]{0,60}account|\b(has no|have no) (such )?(mail ?box|account)",
    r"\bnull mx\b|\b(domain|host) (does not|doesn't) accept (any )?(e-?)?mail",
    r"\b(domain|host)( name)?\b[^.;]{0,30}\b(not found|unknown|(does not|doesn't) exist|not exist|non-?existent|must exist)|\b(unknown|no such|non-?existent) (mail )?(host|domain)|name or service not known|nxdomain",
    r"\b(email|e-mail|mail) address [^.;]{0,60}(could(n't| not) be found|wasn't found|not found|no longer valid)",
    r"\b(adresse|destinataire|utilisateur|correspondant|bo[iî]te)\b[^.;]{0,60}(inconnue?|n'existe|invalide|inexistante?|introuvable)",
    r"\b(empfänger|empfaenger|benutzer|adressat|postfach|adresse|konto)\b[^.;]{0,60}(unbekannt|existiert nicht|nicht gefunden|nicht vorhanden|ungültig|ungueltig)",
    r"\b(usuario|destinatario|buz[oó]n|cuenta|direcci[oó]n|persona|utente|casella|indirizzo|usu[aá]rio|destinat[aá]rio|conta)\b[^.;]{0,60}(desconocid|no existe|inexistente|no encontrad|sconosciut|non esiste|inesistente|desconhecid|n[aã]o existe|inv[aá]lid)",
    r"\b(no existe|inexistente) (dicha|ese|esa|el|la|tal) (persona|usuario|cuenta|buz[oó]n)",
    r"(пользовател|получател|адрес|ящик)[^.;]{0,60}(не найден|не существует|неизвест|отсутствует)|нет такого",
    r"(用户|用戶|收件人|邮箱|郵箱|地址)[^.;]{0,20}(不存在|未知|无效)|(宛先|ユーザー?|メールアドレス)[^.;]{0,20}(不明|存在し|見つかり)",
    r"\b(unbekannter?|unknown|onbekende?|okänd|ukendt|ukjent|nieznany) (empfänger|benutzer|ontvanger|gebruiker|mottagare|modtager|mottaker|odbiorca|u[zż]ytkownik)",
];

/// The mailbox existed earlier and is closed.
const CLOSED: &[&str] = &[
    r"\b(users?|recipients?|mail ?box|mailboxname|address|account|customer|subscriber)\b[^.;]{0,60}\b(disabled|inactive|deactivated|suspended|terminated|closed|discontinued|deleted|removed|expired|locked|frozen|archived|not active|cancell?ed|abandoned)\b",
    r"\b(disabled|inactive|deactivated|suspended|closed|archived|expired|deleted|blocked or disabled) (user|recipient|mail ?box|account|address)",
    r"\bno longer (exists?|valid|available|active|in use|used|in service|with|works?|employed|here|accept(s|ing|ed)?|on this|at this|monitored)",
    r"\b(user|person|employee|recipient)\b[^.;]{0,30}\b(has left|left the|has moved|is gone)",
    r"\b(compte|bo[iî]te|konto|postfach|cuenta|account)\b[^.;]{0,40}\b(d[eé]sactiv|archiv[eé]|ferm[eé]|gesperrt|geschlossen|deaktiviert|deshabilitad|desactivad|disattivat)",
    r"due to extended inactivity",
];

/// The recipient was rejected without a reason.
const REJECTED: &[&str] = &[
    r"\b(recipient |e-?mail )?address(es)? rejected\b|\brecipient(s)? (address(es)? )?(rejected|refused|not accepted|not ok)",
    r"\bmail ?box (is )?(unavailable|unavaiable|not available|currently unavailable)",
    r"\b(account|recipient|user) (is )?(unavailable|not available)\b",
    r"\bnot our customer\b|\bcan't accept user\b|\bbadrcptto\b",
];

/// The failure is about authentication, reputation or lists of senders.
const LISTED: &[&str] = &[
    r"\b(spf|dkim|dmarc|arc|rdns|ptr|fcrdns)\b|reverse (dns|host ?name|lookup|record)|unauthenticated|not authenticated",
    r"\b(helo|ehlo)\b|client host rejected|cannot find your host",
    r"spamhaus|spamcop|barracuda ?(central|networks? reputation)|sorbs|surbl|uribl|\b(rbl|dnsbl|dnsrbl|sbl|xbl|pbl)\b|senderbase|cloudmark|proofpoint dynamic|invaluement|mailspike|abusix",
    r"black ?list|block ?list|deny ?list|\bblocked using\b|\b(is|are|been|currently) listed\b|\blisted (at|by|on)\b|reputation|\bbanned\b|\bopen relay\b",
    r"\byour (ip|server|network|host|mta|domain)\b|\bip (address )?\S{0,45} ?(is |has been )?(blocked|rejected|denied|banned|listed)",
    r"\bspam(ming|mer|my)?\b|unsolicited|bulk mail|\bjunk\b|\babuse\b|\bphish|suspicious|malicious",
    r"virus|malware|infected",
];

/// The failure is about another policy, the content, or relaying.
const POLICY: &[&str] = &[
    r"\bpolic(y|ies)\b|\bprohibit|\brestrict|\bnot (authori[sz]ed|permitted|allowed|accepting)|access denied|permission|security|authenticat|authori[sz]ation required",
    r"\brelay(ing)?\b|not a gateway|allowed rcpthosts|don't handle mail|do not handle mail",
    r"\bcontent\b|attachment|\b(message|mail|e-?mail|transaction|envelope)( was| has been| is)? (rejected|refused|blocked|denied|rejet[eé]e?|abgelehnt)|rejet[eé]|administrative|\bblocked\b",
    r"service (is )?(unavailable|not available|refused)|\bunwanted\b|\brefuses? to (accept|receive)",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pattern_compiles() {
        assert!(PATTERNS.is_some());
        for set in [
            SENDER, FULL, RATE, PASSING, GONE, CLOSED, REJECTED, LISTED, POLICY,
        ] {
            RegexSet::new(set).unwrap();
        }
    }

    #[test]
    fn addresses_and_links_say_nothing() {
        for text in [
            "250 ok <policy@spam.example>",
            "see https://example.com/user-unknown/quota",
            "from sender.rejected@example.com",
        ] {
            assert_eq!(Facts::of(text), Facts::default(), "{text}");
        }
    }
}
