//! The whole broker, simulated from seeds.

mod found;

use whimbrel_tests::sim::{Options, run};

#[test]
fn fixed_seeds_keep_every_promise() {
    for seed in 0..40 {
        let options = Options::from_seed(seed);
        let report = run(&options);
        if let Some(violation) = report.violation {
            panic!("{violation}\n{options:#?}");
        }
    }
}
