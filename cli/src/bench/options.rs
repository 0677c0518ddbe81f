//! What is to be measured.

use std::net::SocketAddr;
use std::str::FromStr;
use whimbrel_core::codec::packet::{QoS, Version};

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scenario {
    Pairs,
    FanIn,
    FanOut,
    Shared,
    Latency,
    Connects,
    Idle,
    Subscriptions,
    Retained,
    Offline,
}

impl Scenario {
    const ALL: [(&str, Self); 10] = [
        ("pairs", Self::Pairs),
        ("fan-in", Self::FanIn),
        ("fan-out", Self::FanOut),
        ("shared", Self::Shared),
        ("latency", Self::Latency),
        ("connects", Self::Connects),
        ("idle", Self::Idle),
        ("subscriptions", Self::Subscriptions),
        ("retained", Self::Retained),
        ("offline", Self::Offline),
    ];

    pub(super) fn name(self) -> &'static str {
        let known = Self::ALL.iter().find(|(_, scenario)| *scenario == self);
        known.map_or("", |(name, _)| name)
    }

    pub(super) const fn defaults(self) -> Defaults {
        let (clients, count, qos) = match self {
            Self::Pairs | Self::Shared | Self::Latency => (10, None, QoS::AtMostOnce),
            Self::FanIn | Self::FanOut => (50, None, QoS::AtMostOnce),
            Self::Connects => (50, Some(20_000), QoS::AtMostOnce),
            Self::Idle => (1_000, None, QoS::AtMostOnce),
            Self::Subscriptions => (10, Some(100_000), QoS::AtMostOnce),
            Self::Retained => (1, Some(100_000), QoS::AtMostOnce),
            // What one queue takes of a broker as it comes.
            Self::Offline => (1, Some(10_000), QoS::AtLeastOnce),
        };
        Defaults {
            clients,
            count,
            qos,
        }
    }
}

impl FromStr for Scenario {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.iter().find(|(name, _)| *name == text);
        known.map(|(_, scenario)| *scenario).ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.iter().map(|(name, _)| *name).collect();
            format!("there are {}", names.join(", "))
        })
    }
}

/// What a scenario takes when nothing else is said.
#[derive(Clone, Copy, Debug)]
pub(super) struct Defaults {
    pub(super) clients: usize,
    pub(super) count: Option<u64>,
    pub(super) qos: QoS,
}

/// What is to be measured, every default filled in.
#[derive(Clone)]
pub(super) struct Options {
    pub(super) scenario: Scenario,
    pub(super) address: SocketAddr,
    pub(super) username: Option<String>,
    pub(super) password: Option<Vec<u8>>,
    pub(super) version: Version,
    pub(super) qos: QoS,
    pub(super) size: usize,
    pub(super) clients: usize,
    pub(super) count: Option<u64>,
    pub(super) duration_s: Option<u32>,
    /// Messages a publisher has under way; 0 never waits.
    pub(super) window: u32,
    pub(super) rate: u32,
    pub(super) pid: Option<u32>,
    pub(super) shows_progress: bool,
}
