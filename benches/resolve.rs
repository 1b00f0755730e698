//! How long a resolution takes: warm, from text, cold on SQLite, and beside moka as people use it.
//!
//! Run: `cargo bench --bench resolve`. Compare rows of one run only; machines differ, and so do the
//! minutes of one machine.

mod lab;

use std::time::Duration;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use trunkline::{Caller, Change};

use self::lab::Lab;

fn resolve(criterion: &mut Criterion) {
    let lab = Lab::on("wss://eu.example", ("APIeu", "a secret of a LiveKit server"), 1000);
    let texts: Vec<_> = lab
        .callers
        .iter()
        .map(|caller| (caller.tenant.to_string(), caller.number.to_string()))
        .collect();
    let mut turn = 0;
    let mut next = || {
        turn = (turn + 611) % lab.callers.len();
        turn
    };
    let mut group = criterion.benchmark_group("resolve");
    group.bench_function("warm", |bench| {
        bench.iter(|| lab.resolver.try_resolve(lab.callers[next()]).expect("warm"));
    });
    group.bench_function("warm, from text", |bench| {
        bench.iter(|| {
            let (tenant, number) = &texts[next()];
            let caller = Caller::parse(tenant, number).expect("a caller");
            lab.resolver.try_resolve(caller).expect("warm")
        });
    });
    let moka = moka::future::Cache::builder()
        .max_capacity(1_000_000)
        .time_to_live(Duration::from_secs(300))
        .build();
    group.bench_function("moka try_get_with, strings", |bench| {
        bench.iter(|| {
            let (tenant, number) = texts[next()].clone();
            let load = async { Ok::<_, std::convert::Infallible>("credentials".to_owned()) };
            lab.runtime.block_on(moka.try_get_with((tenant, number), load)).expect("loaded")
        });
    });
    group.bench_function("cold, SQLite", |bench| {
        bench.iter_batched(
            || {
                let caller = lab.callers[next()];
                lab.resolver.invalidate(Change::Number(caller));
                caller
            },
            |caller| lab.runtime.block_on(lab.resolver.resolve(caller)).expect("loaded"),
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3));
    targets = resolve
}
criterion_main!(benches);
