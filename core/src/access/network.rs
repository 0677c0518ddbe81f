//! Sets of addresses: in rules, in bans, and of proxies that are believed.

use core::fmt;
use core::net::IpAddr;
use core::str::FromStr;
use thiserror::Error;

/// Addresses that begin alike: `192.0.2.0/24`, `2001:db8::/32`, or one address alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

crate::state::state!(Network { address, prefix });

/// Not an address, or not with so many bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NetworkError {
    /// What stands before the `/` is no address.
    #[error("it is not an IP address, or one with `/` and a number of bits")]
    Address,
    /// What stands behind it is not a number of bits that the address has.
    #[error("an IPv4 address has up to 32 bits, an IPv6 address up to 128")]
    Prefix,
    /// Bits behind the prefix are set: one of the two is a slip.
    #[error("the address has bits behind its prefix")]
    HostBits,
}

impl Network {
    /// A network of `prefix` bits.
    ///
    /// # Errors
    ///
    /// The address does not have so many bits, or has some behind them.
    pub fn new(address: IpAddr, prefix: u8) -> Result<Self, NetworkError> {
        if prefix > width(address) {
            return Err(NetworkError::Prefix);
        }
        let rest = u32::from(width(address) - prefix);
        if bits(address).trailing_zeros() < rest && bits(address) != 0 {
            return Err(NetworkError::HostBits);
        }
        Ok(Self { address, prefix })
    }

    /// Whether every address of its version is in it.
    #[must_use]
    pub const fn is_everything(&self) -> bool {
        self.prefix == 0
    }

    /// Whether this address is in it. IPv4 addresses in the form of IPv6 count as IPv4.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        if address.is_ipv4() != self.address.is_ipv4() {
            return false;
        }
        let rest = u32::from(width(address) - self.prefix);
        let differs = bits(address) ^ bits(self.address);
        differs.checked_shr(rest).unwrap_or(0) == 0
    }
}

/// How many bits such an address has.
const fn width(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

/// The address as a number.
fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| NetworkError::Address)?;
        let prefix = match prefix {
            Some(prefix) => prefix.parse().map_err(|_| NetworkError::Prefix)?,
            None => width(address),
        };
        Self::new(address, prefix)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, prefix } = self;
        if *prefix == width(*address) {
            address.fmt(f)
        } else {
            write!(f, "{address}/{prefix}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_contains_what_begins_alike() {
        for (network, address, contains) in [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("192.0.2.7", "192.0.2.7", true),
            ("192.0.2.7", "192.0.2.8", false),
            ("0.0.0.0/0", "203.0.113.9", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("10.0.0.0/8", "::ffff:10.1.2.3", true),
            ("2001:db8::/32", "2001:db8:1::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
            ("::/0", "2001:db9::1", true),
            ("::/0", "10.0.0.1", false),
        ] {
            let network: Network = network.parse().unwrap();
            assert_eq!(
                network.contains(address.parse().unwrap()),
                contains,
                "{network} {address}"
            );
        }
    }

    #[test]
    fn a_slip_in_a_network_is_told() {
        for (text, error) in [
            ("10.0.0", NetworkError::Address),
            ("", NetworkError::Address),
            ("example.org", NetworkError::Address),
            ("10.0.0.0/33", NetworkError::Prefix),
            ("10.0.0.0/", NetworkError::Prefix),
            ("10.0.0.0/-1", NetworkError::Prefix),
            ("::/129", NetworkError::Prefix),
            ("10.0.0.1/8", NetworkError::HostBits),
            ("2001:db8::1/32", NetworkError::HostBits),
        ] {
            assert_eq!(text.parse::<Network>(), Err(error), "{text}");
        }
    }
}
