//! What a user sees of an engine that runs: each scenario on every store.

mod scenarios {
    mod by_hand;
    mod contexts;
    mod counts;
    mod crash;
    mod crash_orders;
    mod crash_sweep;
    mod crowd;
    mod disk;
    mod divergence;
    mod failures;
    mod foreign_waits;
    mod home;
    mod leaves;
    mod locks;
    mod newer_code;
    mod not_storable;
    mod panics;
    mod picture;
    mod quarantine;
    mod recovery;
    mod rejected;
    mod shutdown;
    mod startup;
    mod waiting;
    mod world;
}
