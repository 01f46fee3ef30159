//! The label values, each set closed.

/// A closed set of label values.
pub trait Label: Copy + 'static {
    /// All of them; `index` is the position in it.
    const ALL: &'static [Self];
    /// The text of the label.
    fn text(self) -> &'static str;
    /// The position in [`Self::ALL`].
    fn index(self) -> usize;
}

macro_rules! labels {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$variant_doc])* $variant,)* }

        impl Label for $name {
            const ALL: &'static [Self] = &[$(Self::$variant,)*];
            fn text(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
            fn index(self) -> usize {
                self as usize
            }
        }
    };
}

labels! {
    /// The protocol of a socket, or what stands for one.
    ProtocolLabel {
        /// Bare strings.
        Plain = "plain",
        /// `scanlogin.v1`.
        Json = "json",
        /// The same over an event stream.
        Stream = "stream",
        /// The same over long polling: one for each poll.
        Poll = "poll",
    }
}

labels! {
    /// Why a socket was refused before the upgrade.
    RefusedReason {
        /// The page's origin is not listed.
        Origin = "origin",
        /// The `Host` is not served here.
        Host = "host",
        /// Too many connects from this address.
        Limited = "limited",
        /// `SCANLOGIN_MAX_WAITING` reached.
        Full = "full",
        /// About to stop.
        Draining = "draining",
        /// The store is away.
        Store = "store",
        /// Unknown sub-protocol, or one that can't do what is asked.
        Protocol = "protocol",
        /// Not a WebSocket handshake.
        Handshake = "handshake",
        /// `SCANLOGIN_CONNECTIONS_PER_ADDRESS` reached, behind a trusted proxy.
        Crowded = "crowded",
    }
}

labels! {
    /// A listener.
    Port {
        /// Browsers and phones.
        Public = "public",
        /// Metrics and health.
        Admin = "admin",
    }
}

labels! {
    /// What a connection is at.
    ConnectionState {
        /// Nothing was said on it yet.
        Silent = "silent",
        /// A request's head is being read.
        Head = "head",
        /// A request is being served or answered.
        Request = "request",
        /// Between two requests.
        Idle = "idle",
        /// The last answer is out, and the client is to close.
        Closing = "closing",
        /// It is a WebSocket.
        Socket = "socket",
    }
}

labels! {
    /// Which bound ended a connection.
    ConnectionEnd {
        /// A request's head took longer than 5 s.
        SlowHead = "slow_head",
        /// A request's head was over 16 KiB.
        LargeHead = "large_head",
        /// Silent for 10 s.
        Silent = "silent",
        /// The client did not take its answer.
        SlowReader = "slow_reader",
        /// The client did not close after its last answer.
        Unclosed = "unclosed",
        /// Its address has as many as `SCANLOGIN_CONNECTIONS_PER_ADDRESS` allows.
        Crowded = "crowded",
    }
}

labels! {
    /// Which rule a client broke on its socket.
    CutReason {
        /// More than 100 messages a minute.
        Flood = "flood",
        /// A frame, or a message in fragments, over 4 KiB.
        TooBig = "too_big",
        /// Not a message that the protocol has.
        Malformed = "malformed",
    }
}

labels! {
    /// How a login ended.
    LoginOutcome {
        /// The browser acknowledged its token.
        Delivered = "delivered",
        /// Approved, and never acknowledged.
        Undelivered = "undelivered",
        /// Declined on the phone.
        Denied = "denied",
        /// The deadline passed.
        Expired = "expired",
        /// The browser's user left.
        Cancelled = "cancelled",
        /// The store was away at the end, or something broke.
        Failed = "failed",
    }
}

labels! {
    /// What a phone's call was answered.
    ScanResult {
        /// A scan in one step, or a confirmation's token stored.
        Approved = "approved",
        /// Claimed, to be confirmed.
        Claimed = "claimed",
        /// The same answer as before to the same phone.
        Repeated = "repeated",
        /// Confirmed.
        Confirmed = "confirmed",
        /// Declined.
        Denied = "denied",
        /// No such key.
        Unknown = "unknown",
        /// Another user was first, or too late.
        Conflict = "conflict",
        /// No valid app token.
        Unauthenticated = "unauthenticated",
        /// Another user's claim, or an origin that is not listed.
        Forbidden = "forbidden",
        /// Over the limit.
        Limited = "limited",
        /// Too many logins of the user ended by wrong numbers.
        Locked = "locked",
        /// Too many logins wait for the user's confirmation.
        Crowded = "crowded",
        /// Not the number that the browser shows.
        Mismatch = "mismatch",
        /// Not a request that we understand.
        Malformed = "malformed",
        /// The store is away.
        Store = "store",
        /// The app's key set or the token webhook did not do its part.
        Upstream = "upstream",
    }
}

labels! {
    /// Which token was refused.
    TokenKind {
        /// The app's, of a phone.
        App = "app",
        /// Ours, of a browser that is logged in.
        Web = "web",
    }
}

labels! {
    /// Why a token was refused with 401.
    TokenRefusal {
        /// There is none.
        Missing = "missing",
        /// No JWT, or one whose claims are no object of the right types.
        Malformed = "malformed",
        /// Its header has `crit`.
        Critical = "critical",
        /// Its `typ` is the other kind's, or not ours.
        Type = "type",
        /// Its `alg` is none that we accept, or none of our keys'.
        Algorithm = "algorithm",
        /// Its `kid` is none of our keys'.
        Key = "key",
        /// None of our keys has signed it.
        Signature = "signature",
        /// `exp` is missing, or a date is none.
        Dates = "dates",
        /// `exp` has passed.
        Expired = "expired",
        /// `nbf` has not come.
        NotYet = "not_yet",
        /// `iss` is not the one that is configured.
        Issuer = "issuer",
        /// `aud` is not the one that is configured.
        Audience = "audience",
        /// `sub` is missing, empty, too long, or has control characters.
        Subject = "subject",
        /// Good, but logged out, replaced or never collected.
        Revoked = "revoked",
    }
}

impl TokenRefusal {
    /// For who makes the tokens, as `error_description` has it (RFC 6750, 3): no quotes. Nothing of the token, the keys or
    /// the configuration is in it.
    pub fn description(self) -> &'static str {
        match self {
            Self::Missing => "A token is needed",
            Self::Malformed => "The token is not a JWT, or a claim of it has a wrong type",
            Self::Critical => "The token's header has crit, and no extension is understood here",
            Self::Type => "The token's typ is not of the kind that is needed here",
            Self::Algorithm => "The token's alg is not that of any key",
            Self::Key => "The token's kid is not that of any key",
            Self::Signature => "The token's signature does not fit any key",
            Self::Dates => {
                "The token has no exp, or its exp, nbf or iat is not a number of seconds since 1970"
            }
            Self::Expired => "The token has expired",
            Self::NotYet => "The token's nbf has not come yet",
            Self::Issuer => "The token's iss is not the one that is expected",
            Self::Audience => "The token's aud is not the one that is expected",
            Self::Subject => {
                "The token's sub must have 1 to 255 bytes, and no control characters or direction marks"
            }
            Self::Revoked => {
                "The web login is over: logged out, replaced, or its token was not collected in time"
            }
        }
    }
}

labels! {
    /// What became of a resume.
    ResumeResult {
        /// Goes on waiting.
        Resumed = "resumed",
        /// Its token was there, or acknowledged already.
        Delivered = "delivered",
        /// Unknown, altered, ended, or too late.
        Refused = "refused",
        /// Nothing usable came in time.
        Malformed = "malformed",
        /// The store was away.
        Store = "store",
    }
}

labels! {
    /// What a fetch of the app's key set came to.
    KeySetResult {
        /// It was fetched.
        Ok = "ok",
        /// No connection, or no answer in time.
        Unreachable = "unreachable",
        /// Another status than 200.
        Status = "status",
        /// Too large, no key set, or without a usable key.
        Invalid = "invalid",
    }
}

labels! {
    /// What the webhook is told.
    WebhookEvent {
        /// Somebody logs in: it makes the token.
        Login = "login",
        /// A token that it made was never delivered.
        Revoked = "revoked",
    }
}

labels! {
    /// What came of a call of the webhook.
    WebhookResult {
        /// It did its part.
        Ok = "ok",
        /// No connection: it was not told.
        Unreachable = "unreachable",
        /// No whole answer in time.
        NoAnswer = "no_answer",
        /// A status that means no.
        Status = "status",
        /// Too large, or not what it should be.
        Invalid = "invalid",
        /// Not called: the queue of what it must still be told is full.
        QueueFull = "queue_full",
        /// Not called any more: told in vain for a day.
        GivenUp = "given_up",
    }
}

labels! {
    /// What became of a notification.
    NotificationResult {
        /// Handed to a login of this instance.
        Delivered = "delivered",
        /// No such login here any more.
        Unknown = "unknown",
        /// Its actor's mailbox was full: tried again at the next tick.
        Full = "full",
    }
}

labels! {
    /// Why the records of all waiting logins were read again.
    ResyncReason {
        /// First connection.
        Connected = "connected",
        /// The connection was lost and is back.
        Reconnected = "reconnected",
        /// The probe found the feed deaf, or its last canary forgotten.
        Probe = "probe",
        /// The nodes or slots of the Cluster changed.
        Topology = "topology",
    }
}

labels! {
    /// What the store was asked.
    StoreOperation {
        /// A new record.
        Create = "create",
        /// A phone scans.
        Scan = "scan",
        /// A login is kept for a user while the webhook makes the token.
        Reserve = "reserve",
        /// And is free again.
        Release = "release",
        /// The queue of what the webhook must still be told.
        Outbox = "outbox",
        /// A phone confirms.
        Confirm = "confirm",
        /// A phone declines.
        Deny = "deny",
        /// A record and what is remembered of the user, before a scan.
        Look = "look",
        /// Something to remember of a user.
        Note = "note",
        /// One record, or many.
        Read = "read",
        /// A ticket is redeemed.
        Redeem = "redeem",
        /// A token has arrived.
        Acknowledge = "acknowledge",
        /// The owner ends a login.
        End = "end",
        /// A browser comes back.
        Resume = "resume",
        /// A forgotten record is made again.
        Reclaim = "reclaim",
        /// The user's current web login.
        Current = "current",
        /// The store's time, where what is known of it does not do for a token.
        Time = "time",
        /// A web login is ended.
        Revoke = "revoke",
        /// A user's web login is ended by others than its browser.
        EndSession = "end_session",
        /// The canary of the feed.
        Probe = "probe",
    }
}

labels! {
    /// What kind of error the store gave.
    StoreErrorKind {
        /// Connection refused, reset, or lost.
        Io = "io",
        /// No answer in time.
        Timeout = "timeout",
        /// Wrong password or missing ACL right.
        Auth = "auth",
        /// A replica that takes no writes.
        ReadOnly = "readonly",
        /// `maxmemory` reached.
        OutOfMemory = "oom",
        /// As many commands wait for Redis as may.
        Full = "full",
        /// Anything else.
        Other = "other",
    }
}

labels! {
    /// What became of a span of a trace (`SCANLOGIN_OTLP_ENDPOINT`).
    SpanResult {
        /// The collector has it.
        Exported = "exported",
        /// The collector did not take it.
        Failed = "failed",
        /// More waited already than there is room for.
        Dropped = "dropped",
    }
}

labels! {
    /// The routes, as the metrics name them.
    Route {
        /// `/ws`.
        Ws = "/ws",
        /// `/stream`.
        Stream = "/stream",
        /// `/stream/poll`.
        Poll = "/stream/poll",
        /// `/stream/message`.
        Message = "/stream/message",
        /// `/scan`.
        Scan = "/scan",
        /// `/scan/confirm`.
        Confirm = "/scan/confirm",
        /// `/scan/deny`.
        Deny = "/scan/deny",
        /// `/scan/outcome`.
        Outcome = "/scan/outcome",
        /// `/verify`.
        Verify = "/verify",
        /// `/logout`.
        Logout = "/logout",
        /// `/redeem`.
        Redeem = "/redeem",
        /// `/weblogin`.
        WebLogin = "/weblogin",
        /// `/revoke`, on the admin port.
        Revoke = "/revoke",
        /// `/.well-known/jwks.json`.
        KeySet = "/.well-known/jwks.json",
        /// The browser's package, under all its paths.
        Script = "/scanlogin.js",
        /// `/openapi.json`.
        OpenApi = "/openapi.json",
        /// `/docs`.
        Docs = "/docs",
        /// `/s`, what the QR code holds.
        Landing = "/s",
        /// `/.well-known/apple-app-site-association`.
        AppleApps = "/.well-known/apple-app-site-association",
        /// `/.well-known/assetlinks.json`.
        AndroidApps = "/.well-known/assetlinks.json",
        /// The demo's pages and calls.
        Demo = "demo",
        /// Everything else.
        Other = "other",
    }
}

labels! {
    /// The statuses that are answered.
    Status {
        /// 101
        Switching = "101",
        /// 200
        Ok = "200",
        /// 304
        NotModified = "304",
        /// 400
        BadRequest = "400",
        /// 401
        Unauthorized = "401",
        /// 403
        Forbidden = "403",
        /// 404
        NotFound = "404",
        /// 405
        MethodNotAllowed = "405",
        /// 408
        Timeout = "408",
        /// 409
        Conflict = "409",
        /// 413
        TooLarge = "413",
        /// 415
        UnsupportedType = "415",
        /// 426
        UpgradeRequired = "426",
        /// 429
        TooMany = "429",
        /// 431
        HeadTooLarge = "431",
        /// 500
        Internal = "500",
        /// 502
        BadGateway = "502",
        /// 503
        Unavailable = "503",
        /// Any other.
        Other = "other",
    }
}

impl Status {
    /// The label of a status.
    pub fn of(status: u16) -> Self {
        let text = status.to_string();
        Self::ALL.iter().copied().find(|label| label.text() == text).unwrap_or(Self::Other)
    }
}
