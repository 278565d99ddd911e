//! Who asks, as far as that is known: the address, so far.

use std::net::{IpAddr, Ipv4Addr};

use actix_web::HttpRequest;

use crate::config::Network;

/// The address of the client: the peer's, or the one that trusted proxies name in `X-Forwarded-For`. Each proxy appends
/// the address that it was asked from, so the last one that is no proxy of ours is the last one that nobody can invent.
pub fn of(request: &HttpRequest, trusted: &[Network]) -> IpAddr {
    let peer = request.peer_addr().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip());
    let forwarded = request.headers().get_all("x-forwarded-for").filter_map(|value| value.to_str().ok());
    let named: Vec<&str> = forwarded.flat_map(|value| value.split(',')).map(str::trim).collect();
    client(peer, &named, trusted)
}

fn client(peer: IpAddr, named: &[&str], trusted: &[Network]) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(address));
    let mut client = peer;
    for name in named.iter().rev() {
        if !is_trusted(client) {
            break;
        }
        // What is no address is nobody's word, and nothing before it counts.
        let Ok(address) = name.parse() else { break };
        client = address;
    }
    client.to_canonical()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_trusted_proxies_are_believed() {
        let trusted = [Network { address: "10.0.0.0".parse().expect("an address"), prefix_bits: 8 }];
        let rows: [(&str, &[&str], &str); 7] = [
            ("192.0.2.1", &[], "192.0.2.1"),
            ("192.0.2.1", &["203.0.113.9"], "192.0.2.1"),
            ("10.0.0.1", &["203.0.113.9"], "203.0.113.9"),
            ("10.0.0.1", &["198.51.100.7", "203.0.113.9", "10.0.0.2"], "203.0.113.9"),
            ("10.0.0.1", &["nonsense", "10.0.0.2"], "10.0.0.2"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("::ffff:10.0.0.1", &["::ffff:203.0.113.9"], "203.0.113.9"),
        ];
        for (peer, named, expected) in rows {
            let client = client(peer.parse().expect("an address"), named, &trusted);
            assert_eq!(client.to_string(), expected, "{peer} {named:?}");
        }
    }
}
