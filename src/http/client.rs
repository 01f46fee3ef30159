//! Who calls: address, origin and host of a request.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::atomic::{AtomicBool, Ordering},
};

use actix_web::{
    HttpRequest,
    http::header::{self, HeaderValue},
};

use crate::{
    config::{Config, ProxyHeader, host_is_served},
    error::ApiError,
    metrics::TokenRefusal,
    origin::{self, ClientNetwork},
    tokens::bearer,
};

/// The caller of one request.
pub struct Client {
    /// Its address, as far as our own proxies can be believed.
    pub ip: IpAddr,
    /// Who has connected to us: the client, or a proxy.
    pub peer: IpAddr,
    request: HttpRequest,
}

impl Client {
    /// Reads the request's head.
    pub fn of(request: &HttpRequest, config: &Config) -> Self {
        let head = request.head();
        let peer = head.peer_addr.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip());
        let peer = peer.to_canonical();
        let name = match config.proxy_header {
            ProxyHeader::XForwardedFor => header::X_FORWARDED_FOR,
            ProxyHeader::Forwarded => header::FORWARDED,
        };
        let lines = || head.headers.get_all(&name).map(HeaderValue::as_bytes);
        let trusted = &config.trusted_proxies;
        if lines().next().is_some() && !trusted.iter().any(|network| network.contains(&peer)) {
            warn_once();
        }
        let ip = origin::client_address(peer, trusted, config.proxy_header, lines());
        Self { ip, peer, request: request.clone() }
    }

    /// The request itself.
    pub fn request(&self) -> &HttpRequest {
        &self.request
    }

    fn text(&self, name: header::HeaderName) -> Option<&str> {
        self.request.headers().get(name).and_then(|value| value.to_str().ok())
    }

    /// The page's origin; empty where there is none.
    pub fn origin_text(&self) -> &str {
        self.text(header::ORIGIN).unwrap_or_default()
    }

    /// The browser's own description; empty where there is none.
    pub fn user_agent(&self) -> &str {
        self.text(header::USER_AGENT).unwrap_or_default()
    }

    /// What per-address limits count on.
    pub fn limit_key(&self) -> IpAddr {
        origin::limit_key(self.ip)
    }

    /// The same as logins keep it.
    pub fn network(&self) -> ClientNetwork {
        ClientNetwork::of(self.ip)
    }

    /// Refuses names that a loopback listener does not serve.
    ///
    /// # Errors
    /// [`ApiError::Host`].
    pub fn check_host(&self, config: &Config) -> Result<(), ApiError> {
        // One that is no text is no name of ours.
        let host = self.request.headers().get(header::HOST);
        let host = host.map(|host| host.to_str().unwrap_or_default());
        if host_is_served(config, host) { Ok(()) } else { Err(ApiError::Host) }
    }

    /// Refuses pages that are not listed.
    ///
    /// # Errors
    /// [`ApiError::Origin`].
    pub fn check_origin(&self, config: &Config) -> Result<(), ApiError> {
        // An origin that is not text is an origin, and listed nowhere.
        let origin = self
            .request
            .headers()
            .get(header::ORIGIN)
            .map(|value| value.to_str().unwrap_or("null"));
        let host = self.text(header::HOST);
        if config.origins.allow(origin, host, config.public_url.as_ref()) {
            Ok(())
        } else {
            Err(ApiError::Origin)
        }
    }

    /// Refuses whoever is not a page of an origin that is listed by name: what rests on a cookie
    /// asks for more than [`Self::check_origin`].
    ///
    /// # Errors
    /// [`ApiError::Origin`].
    pub fn check_origin_is_listed(&self, config: &Config) -> Result<(), ApiError> {
        if config.origins.list(self.origin_text()) { Ok(()) } else { Err(ApiError::Origin) }
    }

    /// What the QR code's URL begins with: the configured one, else what the browser calls us.
    pub fn public_base(&self, config: &Config) -> String {
        if let Some(url) = &config.public_url {
            return url.as_str().trim_end_matches('/').to_owned();
        }
        let host = self.text(header::HOST).unwrap_or("localhost");
        // A page's own scheme tells whether a proxy in front of us speaks TLS.
        let scheme = if self.origin_text().starts_with("https:") { "https" } else { "http" };
        format!("{scheme}://{host}")
    }
}

fn warn_once() {
    static WARNED: AtomicBool = AtomicBool::new(false);
    if !WARNED.swap(true, Ordering::Relaxed) {
        tracing::warn!(
            "a request carries a proxy's header and is not believed: if a proxy of yours stands \
             in front, name its network in SCANLOGIN_TRUSTED_PROXIES"
        );
    }
}

/// The token of the request's `Authorization: Bearer`. Another scheme is no token (RFC 6750, 3.1).
///
/// # Errors
/// [`TokenRefusal::Missing`].
pub(super) fn bearer_of(request: &HttpRequest) -> Result<&str, TokenRefusal> {
    let header = request.headers().get(header::AUTHORIZATION);
    bearer(header.and_then(|value| value.to_str().ok())).ok_or(TokenRefusal::Missing)
}
