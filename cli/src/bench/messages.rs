//! Pairs, fan-in, fan-out, shared, latency: messages from publishers to subscribers that are there.

use super::Failure;
use super::histogram::Histogram;
use super::network::{Heard, Network};
use super::options::{Options, Scenario};
use super::publisher::Publisher;
use super::report::{Meter, Report, Used};
use super::schedule::{Progress, QUIET, TURN, Watch, admit, subscribe};
use super::tally::{Received, Stamp, Totals};
use std::process;
use std::time::{Duration, Instant};
use whimbrel_core::codec::packet::QoS;

/// Everybody, and what they have sent and received.
struct Crowd {
    scenario: Scenario,
    publishers: Vec<Publisher>,
    /// The first connection of a publisher, and of a subscriber.
    first_link: usize,
    first_subscriber: usize,
    /// By subscriber; where there is one only, or it does not matter which, by sender.
    received: Vec<Received>,
    latencies: Option<Histogram>,
    deliveries: u64,
    acknowledged: u64,
    /// Messages that nobody of these has published.
    strays: u64,
    closed: bool,
}

/// Measures.
pub(super) fn run(options: &Options) -> Result<Report, Failure> {
    let mut network = Network::new(options)?;
    let mut report = Report::new(options);
    traffic(&mut network, options, &mut report)?;
    Ok(report)
}

/// Connects everybody, lets them talk, and reports.
pub(super) fn traffic(
    network: &mut Network,
    options: &Options,
    report: &mut Report,
) -> Result<(), Failure> {
    let mut crowd = Crowd::gather(network, options)?;
    let meter = Meter::start(options);
    let mut watch = Watch::new();
    if options.scenario == Scenario::Latency {
        crowd.publish_on_time(network, options)?;
    } else {
        crowd.publish(network, options, &mut watch)?;
    }
    crowd.collect(network, &mut watch)?;
    let mut used = meter.stop();
    // Waiting for what does not come is not part of it.
    used.wall = used.wall.saturating_sub(watch.changed.elapsed());
    crowd.report(options, &used, report);
    Ok(())
}

impl Crowd {
    fn gather(network: &mut Network, options: &Options) -> Result<Self, Failure> {
        let scenario = options.scenario;
        let clients = options.clients;
        let (publishers, subscribers) = match scenario {
            Scenario::FanIn => (clients, 1),
            Scenario::FanOut => (1, clients),
            _ => (clients, clients),
        };
        let run = process::id();
        let names = (0..publishers + subscribers).map(|number| format!("bench-{run}-{number}"));
        let links = admit(network, names)?;
        let first_link = links.start;
        let first_subscriber = links.start + publishers;
        let filters = (0..subscribers).map(|number| {
            let filter = match scenario {
                Scenario::FanIn => format!("bench/{run}/+"),
                Scenario::FanOut => format!("bench/{run}/0"),
                Scenario::Shared => format!("$share/bench/bench/{run}/+"),
                _ => format!("bench/{run}/{number}"),
            };
            (first_subscriber + number, filter)
        });
        subscribe(network, filters, options.qos)?;
        let fan_out = match scenario {
            Scenario::FanOut => clients as u64,
            _ => 1,
        };
        let publishers: Vec<Publisher> = (0..publishers)
            .map(|number| {
                let topic = format!("bench/{run}/{number}");
                Publisher::new(options, first_link + number, number as u32, &topic)
                    .with_fan_out(fan_out)
            })
            .collect();
        let tallies = publishers.len().max(fan_out as usize);
        Ok(Self {
            scenario,
            publishers,
            first_link,
            first_subscriber,
            received: vec![Received::default(); tallies],
            latencies: (scenario == Scenario::Latency).then(Histogram::new),
            deliveries: 0,
            acknowledged: 0,
            strays: 0,
            closed: false,
        })
    }

    fn hear(&mut self, link: usize, heard: Heard<'_>) {
        match heard {
            Heard::Message { payload, at_ns } => self.take(link, payload, at_ns),
            Heard::Acknowledged => {
                let publisher = &mut self.publishers[link - self.first_link];
                publisher.acknowledged += 1;
                self.acknowledged += 1;
            }
            Heard::Closed => self.closed = true,
            Heard::Accepted | Heard::Subscribed { .. } | Heard::Pong => {}
        }
    }

    fn take(&mut self, link: usize, payload: &[u8], at_ns: u64) {
        let stamp = Stamp::read(payload);
        let Some(stamp) = stamp.filter(|stamp| (stamp.sender as usize) < self.publishers.len())
        else {
            self.strays += 1;
            return;
        };
        let subscriber = link - self.first_subscriber;
        let sender = stamp.sender as usize;
        let place = match self.scenario {
            Scenario::FanOut => subscriber,
            Scenario::FanIn | Scenario::Shared => sender,
            _ if sender != subscriber => {
                self.strays += 1;
                return;
            }
            _ => subscriber,
        };
        if self.received[place].take(stamp.sequence) {
            self.publishers[sender].delivered += 1;
        }
        self.deliveries += 1;
        if let Some(latencies) = &mut self.latencies {
            latencies.record(at_ns.saturating_sub(stamp.sent_ns));
        }
    }

    fn turn(&mut self, network: &mut Network, wait: Duration) -> Result<(), Failure> {
        network.turn(wait, |link, heard| self.hear(link, heard))?;
        if self.closed {
            return Err(Failure::Closed);
        }
        Ok(())
    }

    fn progress(&self) -> u64 {
        self.deliveries + self.acknowledged
    }

    /// As fast as windows allow, until enough was published or the time is over.
    fn publish(
        &mut self,
        network: &mut Network,
        options: &Options,
        watch: &mut Watch,
    ) -> Result<(), Failure> {
        let started = Instant::now();
        let end = options
            .duration_s
            .map(|seconds| started + Duration::from_secs(u64::from(seconds)));
        let publishers = self.publishers.len() as u64;
        let each = options.count.map_or(u32::MAX, |count| {
            u32::try_from(count.div_ceil(publishers)).unwrap_or(u32::MAX)
        });
        let mut shown = Progress::new(options.shows_progress);
        loop {
            let now = Instant::now();
            if end.is_some_and(|end| now >= end) {
                return Ok(());
            }
            let now_ns = network.now_ns();
            let mut done = true;
            for publisher in &mut self.publishers {
                let left = each - publisher.sent;
                publisher.publish(network, left, now_ns);
                done &= publisher.sent == each;
            }
            if done {
                return Ok(());
            }
            network.flush();
            let more = |p: &Publisher| p.can_go_on(network, each - p.sent);
            let wait = match self.publishers.iter().any(more) {
                true => Duration::ZERO,
                false => TURN,
            };
            self.turn(network, wait)?;
            shown.show(now, "delivered", self.deliveries);
            // What the turn has brought is not older than its end.
            if watch.look(Instant::now(), self.progress()) > QUIET {
                if options.qos > QoS::AtMostOnce {
                    return Ok(());
                }
                self.publishers.iter_mut().for_each(Publisher::give_up);
                watch.changed = Instant::now();
            }
        }
    }

    /// Each message when it is due, whatever became of those before it; the time it was due is what
    /// its latency counts from.
    fn publish_on_time(&mut self, network: &mut Network, options: &Options) -> Result<(), Failure> {
        let seconds = u64::from(options.duration_s.unwrap_or(5));
        let rate = u64::from(options.rate);
        let count = options.count.map_or(rate * seconds, |count| {
            count.min(rate * u64::from(options.duration_s.unwrap_or(u32::MAX)))
        });
        let mut shown = Progress::new(options.shows_progress);
        let publishers = self.publishers.len();
        let start_ns = network.now_ns();
        let mut next = 0;
        while next < count {
            let now_ns = network.now_ns();
            while next < count {
                let due_ns = start_ns + next * 1_000_000_000 / rate;
                if due_ns > now_ns {
                    break;
                }
                self.publishers[next as usize % publishers].publish_one(network, due_ns);
                next += 1;
            }
            // Sleeping would be too coarse: it looks, over and over.
            self.turn(network, Duration::ZERO)?;
            shown.show(Instant::now(), "delivered", self.deliveries);
        }
        Ok(())
    }

    /// Waits for what is still under way.
    fn collect(&mut self, network: &mut Network, watch: &mut Watch) -> Result<(), Failure> {
        let fan_out = match self.scenario {
            Scenario::FanOut => self.received.len() as u64,
            _ => 1,
        };
        let acknowledged = self.publishers.iter().any(|p| p.acknowledged > 0);
        loop {
            let sent: u64 = self.publishers.iter().map(|p| u64::from(p.sent)).sum();
            let all_came = self.deliveries >= sent * fan_out;
            let all_known = !acknowledged || self.acknowledged >= sent;
            if watch.look(Instant::now(), self.progress()) > QUIET || (all_came && all_known) {
                return Ok(());
            }
            self.turn(network, TURN)?;
        }
    }

    fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for (place, received) in self.received.iter().enumerate() {
            let sender = match self.scenario {
                Scenario::FanOut => 0,
                _ => place,
            };
            totals.add(received, self.publishers[sender].sent);
        }
        totals
    }

    fn report(&self, options: &Options, used: &Used, report: &mut Report) {
        let totals = self.totals();
        let sent: u64 = self.publishers.iter().map(|p| u64::from(p.sent)).sum();
        report.add("published", "messages published", sent as f64);
        report.add("delivered", "messages delivered", totals.delivered as f64);
        report.add("lost", "lost", totals.lost as f64);
        report.add("repeated", "repeated", totals.repeated as f64);
        // Members of a shared subscription have no order among each other.
        if self.scenario != Scenario::Shared {
            report.add("reordered", "out of order", totals.reordered as f64);
        }
        let seconds = used.wall.as_secs_f64();
        report.add("seconds", "seconds", seconds);
        let per_second = totals.delivered as f64 / seconds;
        report.add("deliveries_per_s", "deliveries per second", per_second);
        add_usage(used, totals.delivered, report);
        if let Some(latencies) = &self.latencies {
            let us = |ns: u64| ns as f64 / 1_000.0;
            for (key, label, share) in [
                ("p50_us", "latency, half are below, µs", 500_000),
                ("p90_us", "latency, 90 % are below, µs", 900_000),
                ("p99_us", "latency, 99 % are below, µs", 990_000),
                ("p999_us", "latency, 99.9 % are below, µs", 999_000),
            ] {
                report.add(key, label, us(latencies.per_million(share)));
            }
            report.add("max_us", "latency, highest, µs", us(latencies.maximum()));
        }
        if self.strays > 0 {
            report.complain(format!(
                "{} messages that nobody here has sent",
                self.strays
            ));
        }
        judge(options.qos, self.scenario, &totals, report);
    }
}

/// What it cost.
fn add_usage(used: &Used, delivered: u64, report: &mut Report) {
    let millions = delivered as f64 / 1e6;
    if let Some(cpu_s) = used.broker_cpu_s {
        report.add("broker_cpu_s", "broker: CPU seconds", cpu_s);
        let each = cpu_s / millions;
        report.add(
            "broker_cpu_s_per_million",
            "broker: CPU s per million delivered",
            each,
        );
    }
    if let Some(cpu_s) = used.own_cpu_s {
        report.add("own_cpu_s", "this tool: CPU seconds", cpu_s);
        let each = cpu_s / millions;
        report.add(
            "own_cpu_s_per_million",
            "this tool: CPU s per million delivered",
            each,
        );
    }
    used.add_memory(report);
}

/// Complains about what the standard does not allow on connections that never broke.
fn judge(qos: QoS, scenario: Scenario, totals: &Totals, report: &mut Report) {
    if qos > QoS::AtMostOnce && totals.lost > 0 {
        report.complain(format!(
            "{} messages of QoS {} are lost",
            totals.lost, qos as u8
        ));
    }
    if qos != QoS::AtLeastOnce && totals.repeated > 0 {
        let qos = qos as u8;
        report.complain(format!(
            "{} messages of QoS {qos} came twice",
            totals.repeated
        ));
    }
    if scenario != Scenario::Shared && totals.reordered > 0 {
        report.complain(format!("{} messages came out of order", totals.reordered));
    }
}
