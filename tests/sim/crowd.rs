//! A thousand clients at once.

use whimbrel_tests::sim::Options;

#[test]
fn a_thousand_clients_get_what_they_are_owed() {
    let report = crate::check_options(Options::from_seed(9).with_players(1_000));
    assert!(
        report.counts.operation_count() > 10_000,
        "{}",
        report.counts
    );
    assert!(report.counts.fault_count() > 1_000, "{}", report.counts);
}
