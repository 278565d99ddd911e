//! Which web pages may open a socket. Browsers let any page open one anywhere, and do not ask the server beforehand as they
//! do for other requests: a page of a stranger must not talk to a gateway on its visitor's machine.

use actix_web::HttpRequest;
use url::{Host, Url};

use crate::event::{ErrorCode, Fault};

/// Refuses a page of another site. Whoever sends no `Origin` is no page.
///
/// # Errors
/// Where the page is neither from the host that it asks nor from `public_url`.
pub fn check(request: &HttpRequest, public_url: Option<&str>) -> Result<(), Fault> {
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
    // Not every browser says this of a socket; one that does has looked itself.
    let looked = header("sec-fetch-site").is_some();
    match header("origin") {
        Some(origin) if !looked && !is_ours(origin, header("host"), public_url) => {
            let message = "A page of another site may not open a socket here. Where a proxy changes the Host header, \
                set server.public_url.";
            Err(Fault::new(ErrorCode::Forbidden, message))
        }
        _ => Ok(()),
    }
}

/// Ports do not count, as they do not for what browsers call a site.
fn is_ours(origin: &str, host: Option<&str>, public_url: Option<&str>) -> bool {
    let Some(page) = host_of(origin) else { return false };
    let asked = host.and_then(|host| host_of(&format!("http://{host}")));
    [asked, public_url.and_then(host_of)].contains(&Some(page))
}

fn host_of(url: &str) -> Option<Host> {
    Url::parse(url).ok()?.host().map(|host| host.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_ours_where_it_comes_from_the_host_that_it_asks() {
        let rows = [
            ("http://127.0.0.1:8080", Some("127.0.0.1:8080"), None, true),
            ("http://localhost:8080", Some("127.0.0.1:8080"), None, false),
            ("http://127.0.0.1:3000", Some("127.0.0.1:8080"), None, true),
            ("http://[::1]:8080", Some("[::1]:8080"), None, true),
            ("https://chat.example.com", Some("chat.example.com"), None, true),
            ("https://chat.example.com", Some("chat.example.com:443"), None, true),
            ("https://chat.example.com", Some("gateway:8080"), None, false),
            ("https://chat.example.com", Some("gateway:8080"), Some("https://chat.example.com/app"), true),
            ("https://evil.example.org", Some("gateway:8080"), Some("https://chat.example.com"), false),
            ("https://chat.example.com.evil.org", Some("chat.example.com"), None, false),
            ("null", Some("127.0.0.1:8080"), None, false),
            ("file://", Some("127.0.0.1:8080"), None, false),
            ("http://127.0.0.1:8080", None, None, false),
        ];
        for (origin, host, public_url, expected) in rows {
            assert_eq!(is_ours(origin, host, public_url), expected, "{origin} asks {host:?}");
        }
    }
}
