//! The cookies of a browser, where tokens are delivered by ticket: the one that holds the web token, and
//! the one by which a browser is known from the moment it asks for a login.

use actix_web::{
    HttpRequest,
    http::header::{self, HeaderValue},
};
use cookie::{Cookie, SameSite, time::Duration};

use crate::{
    error::ApiError,
    keys::{BrowserSecret, Entropy, Hash},
};

/// `__Host-`: browsers take it only with `Secure`, for `/` and without a domain, so that no other
/// host of the same site can put one of its own in its place (RFC 6265bis, 4.1.3.2).
const NAME: &str = "__Host-scanlogin";
/// What a browser is known by.
const BROWSER: &str = "__Host-scanlogin-browser";
/// For how long: as long as browsers keep a cookie (RFC 6265bis, 5.5), 400 days.
const BROWSER_SECONDS: u64 = 400 * 24 * 60 * 60;
/// Browsers forget larger ones: name, value and attributes (RFC 6265bis, 5.6).
const MAX_COOKIE: usize = 4096;

/// The web token that a browser brings.
pub(super) fn token(request: &HttpRequest) -> Option<String> {
    values(request, NAME).next().map(str::to_owned)
}

/// The values of the cookies with this name. Cookies are bytes: one of another application of this
/// host, which may hold any, hides ours no more than it hides the others. And a name is exact: where
/// more than blanks were trimmed, a cookie could be planted that browsers do not take for `__Host-`.
fn values<'a>(request: &'a HttpRequest, name: &'a str) -> impl Iterator<Item = &'a str> {
    let lines = request.headers().get_all(header::COOKIE);
    lines
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b';'))
        .filter_map(|pair| str::from_utf8(pair.trim_ascii()).ok()?.split_once('='))
        .filter(move |(found, _)| *found == name)
        .map(|(_, value)| value)
}

/// What the request's browser is known by; `None` where it has no such cookie, or none that is whole.
pub(super) fn browser(request: &HttpRequest) -> Option<BrowserSecret> {
    values(request, BROWSER).find_map(|value| BrowserSecret::parse(value).ok())
}

/// A browser that asks for a login.
pub(crate) struct Known {
    /// The hash of its cookie.
    pub(crate) browser: Hash,
    /// `Set-Cookie`, where it had none: one cookie is for all its tabs and logins.
    pub(crate) set: Option<HeaderValue>,
}

impl Known {
    /// Knows the browser again, or makes it a cookie.
    pub(crate) fn of(request: &HttpRequest, entropy: Entropy) -> Self {
        if let Some(known) = browser(request) {
            return Self { browser: known.hash(), set: None };
        }
        let new = BrowserSecret::random(entropy);
        let set = cookie(BROWSER, &new.expose(), BROWSER_SECONDS);
        let set = HeaderValue::from_str(&set).expect("base64url is plain ASCII");
        Self { browser: new.hash(), set: Some(set) }
    }
}

/// The hash of the cookie that the request's browser has.
pub(crate) fn browser_hash(request: &HttpRequest) -> Option<Hash> {
    browser(request).map(|browser| browser.hash())
}

/// `Set-Cookie` for a token that lasts for `seconds`.
///
/// # Errors
/// [`ApiError::TokenIsNoCookie`]: no browser would keep it.
pub(super) fn set(token: &str, seconds: u64) -> Result<HeaderValue, ApiError> {
    // The octets of a cookie's value (RFC 6265, 4.1.1); a JWT has no others.
    let is_octet = |byte: &u8| byte.is_ascii_graphic() && !br#"",;\"#.contains(byte);
    let value = cookie(NAME, token, seconds);
    if value.len() > MAX_COOKIE || !token.as_bytes().iter().all(is_octet) {
        return Err(ApiError::TokenIsNoCookie);
    }
    HeaderValue::from_str(&value).map_err(|_| ApiError::TokenIsNoCookie)
}

/// `Set-Cookie` that makes the browser forget it.
pub(super) fn forget() -> HeaderValue {
    HeaderValue::from_str(&cookie(NAME, "", 0)).expect("a cookie without a value is plain ASCII")
}

fn cookie(name: &str, value: &str, seconds: u64) -> String {
    Cookie::build((name, value))
        .path("/")
        .secure(true)
        .http_only(true)
        .same_site(SameSite::Lax)
        .max_age(Duration::seconds(i64::try_from(seconds).unwrap_or(i64::MAX)))
        .to_string()
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn no_other_cookie_hides_the_token_or_is_taken_for_it() {
        let found = |lines: &[&[u8]]| {
            let request = lines.iter().fold(TestRequest::default(), |request, line| {
                let value = HeaderValue::from_bytes(line).expect("bytes of a header");
                request.append_header((header::COOKIE, value))
            });
            token(&request.to_http_request())
        };
        let some = Some("a.b-c_d".to_owned());
        assert_eq!(found(&[b"theme=dark; __Host-scanlogin=a.b-c_d"]), some);
        assert_eq!(found(&[b"name=\xe4; __Host-scanlogin=a.b-c_d; city=K\xc3\xb6ln"]), some);
        assert_eq!(found(&[b"name=\xe4", b"__Host-scanlogin=a.b-c_d"]), some);
        assert_eq!(found(&[b"noname;;=;__Host-scanlogin=a.b-c_d"]), some);
        // A browser lets any host of the site set these: none begins with `__Host-` there.
        for planted in
            ["\u{2000}__Host-scanlogin=x", "\u{a0}__Host-scanlogin=x", "__host-scanlogin=x"]
        {
            assert_eq!(found(&[planted.as_bytes()]), None, "{planted:?}");
        }
    }

    #[test]
    fn a_browser_is_known_by_its_cookie_and_by_nothing_like_it() {
        let asking = |cookies: &str| {
            let request = TestRequest::default().append_header((header::COOKIE, cookies));
            Known::of(&request.to_http_request(), Entropy::Os)
        };
        let first = asking("theme=dark");
        let set = first.set.expect("it had none").to_str().unwrap().to_owned();
        let (pair, attributes) = set.split_once("; ").unwrap();
        let mut attributes: Vec<_> = attributes.split("; ").collect();
        attributes.sort_unstable();
        assert_eq!(
            attributes,
            ["HttpOnly", "Max-Age=34560000", "Path=/", "SameSite=Lax", "Secure"]
        );
        let again = asking(&format!("a=b; {pair}; c=d"));
        assert!(again.browser == first.browser && again.set.is_none());
        let value = pair.strip_prefix("__Host-scanlogin-browser=").unwrap();
        assert_eq!(value.len(), 43);
        for other in [
            format!("__Host-scanlogin-browser={}", &value[..42]),
            format!("__Host-scanlogin-browser={value}A"),
            format!("__Host-scanlogin-browser=\"{value}\""),
            "__Host-scanlogin-browser=".to_owned(),
            format!("__host-scanlogin-browser={value}"),
            format!("scanlogin-browser={value}"),
            format!("__Host-scanlogin={value}"),
        ] {
            let asked = asking(&other);
            assert!(asked.set.is_some() && asked.browser != first.browser, "{other}");
        }
        // One that was cut hides no whole one.
        let both = format!("__Host-scanlogin-browser=x; {pair}");
        assert!(asking(&both).browser == first.browser);
    }

    #[test]
    fn no_script_and_no_other_host_can_have_it() {
        let set = set("a.b-c_d", 60).unwrap();
        let mut parts: Vec<_> = set.to_str().unwrap().split("; ").collect();
        assert_eq!(parts.remove(0), "__Host-scanlogin=a.b-c_d");
        parts.sort_unstable();
        assert_eq!(parts, ["HttpOnly", "Max-Age=60", "Path=/", "SameSite=Lax", "Secure"]);
        assert!(forget().to_str().unwrap().starts_with("__Host-scanlogin=; "));
        assert!(forget().to_str().unwrap().contains("Max-Age=0"));
    }

    #[test]
    fn what_is_no_cookie_value_is_refused() {
        for token in ["a;b", "a b", "a,b", "\"a\"", "ä", "a\r\nSet-Cookie: b", &"x".repeat(4096)] {
            assert_eq!(set(token, 60), Err(ApiError::TokenIsNoCookie), "{token}");
        }
    }
}
