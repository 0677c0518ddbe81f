//! Long runs of the simulator.
fn main() {
    let first: u64 = std::env::args().nth(1).map_or(0, |a| a.parse().unwrap());
    let count: u64 = std::env::args().nth(2).map_or(1, |a| a.parse().unwrap());
    let mut counts = whimbrel_tests::sim::Counts::default();
    for seed in first..first + count {
        let options = whimbrel_tests::sim::Options::from_seed(seed);
        let report = whimbrel_tests::sim::run(&options);
        counts.add(&report.counts);
        if let Some(v) = report.violation {
            println!("SEED {seed}: {}", v.chars().take(600).collect::<String>());
        }
    }
    println!("{counts}");
}
