//! Sets of addresses: who is a proxy, and so is believed what it says about others.

use alloc::borrow::ToOwned;
use alloc::string::String;
use core::fmt;
use core::net::IpAddr;
use core::str::FromStr;
use thiserror::Error;

/// All addresses with the same beginning: `192.0.2.0/24`, `2001:db8::/32`, or one address alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network {
    address: IpAddr,
    /// Bits of it that count.
    prefix: u8,
}

impl Network {
    /// Whether this address is one of them. IPv4 in IPv6 counts as IPv4.
    #[must_use]
    pub fn contains(self, address: IpAddr) -> bool {
        let (network, bits) = number(self.address);
        let (address, bits_of_address) = number(address.to_canonical());
        let unused = bits - u32::from(self.prefix);
        bits == bits_of_address && (network ^ address).checked_shr(unused).unwrap_or(0) == 0
    }
}

/// An address as a number, and of how many bits.
const fn number(address: IpAddr) -> (u128, u32) {
    match address {
        IpAddr::V4(address) => (address.to_bits() as u128, 32),
        IpAddr::V6(address) => (address.to_bits(), 128),
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, prefix } = self;
        if u32::from(*prefix) == number(*address).1 {
            address.fmt(f)
        } else {
            write!(f, "{address}/{prefix}")
        }
    }
}

/// Some text is no network.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("\"{0}\" is no network; write one as \"192.0.2.0/24\", \"2001:db8::/32\" or \"192.0.2.1\"")]
pub struct BadNetwork(String);

impl FromStr for Network {
    type Err = BadNetwork;

    fn from_str(text: &str) -> Result<Self, BadNetwork> {
        let bad = || BadNetwork(text.to_owned());
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| bad())?;
        let (number, bits) = number(address);
        let prefix = match prefix {
            None => bits as u8,
            Some(prefix) => prefix.parse().map_err(|_| bad())?,
        };
        let unused = bits.checked_sub(u32::from(prefix)).ok_or_else(bad)?;
        // Bits that do not count are a slip: the network that was meant is another one.
        let stray = number.trailing_zeros() < unused;
        if stray && number != 0 {
            return Err(bad());
        }
        Ok(Self { address, prefix })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn networks_contain_what_begins_as_they_do() {
        for (network, address, contained) in [
            ("192.0.2.0/24", "192.0.2.255", true),
            ("192.0.2.0/24", "192.0.3.0", false),
            ("192.0.2.7", "192.0.2.7", true),
            ("192.0.2.7", "192.0.2.6", false),
            ("192.0.2.0/24", "::ffff:192.0.2.9", true),
            ("0.0.0.0/0", "203.0.113.1", true),
            ("0.0.0.0/0", "::1", false),
            ("::/0", "::1", true),
            ("::/0", "192.0.2.1", false),
            ("2001:db8::/32", "2001:db8:1::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
        ] {
            let parsed: Network = network.parse().unwrap();
            assert_eq!(parsed.to_string(), network);
            let is_in = parsed.contains(address.parse().unwrap());
            assert_eq!(is_in, contained, "{address} in {network}");
        }
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in [
            "",
            "192.0.2.0/33",
            "::/129",
            "192.0.2.1/24",
            "example.org",
            "192.0.2.0/",
            "192.0.2.0/-1",
            "/8",
        ] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }
}
