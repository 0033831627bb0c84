//! Kinds of metrics: a family of series, with the number of its labels in the type and a bound on
//! how many series there can be.

use std::fmt;
use std::hash::RandomState;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, PoisonError, RwLock};

use hashbrown::{Equivalent, HashMap};
use prometheus_client::encoding::{
    EncodeLabel as _, EncodeLabelSet, EncodeMetric, LabelSetEncoder, MetricEncoder,
};
use prometheus_client::metrics::{MetricType, TypedMetric, counter, gauge, histogram};
use prometheus_client::registry::Registry;

/// Series of one metric. Every label has a bound of its own, so this is never met; where a mistake
/// meets it, further ones are counted together as `other`.
const SERIES: usize = 4000;
/// Seconds. A warm question takes less than a millisecond, an attach seconds, and the longest call
/// ten minutes.
const BUCKETS: [f64; 10] = [0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 5.0, 15.0, 60.0, 300.0];

type Values<const N: usize> = [Box<str>; N];

/// The labels of one series.
struct Labels<'a, const N: usize> {
    names: &'a [&'static str; N],
    values: &'a Values<N>,
}

impl<const N: usize> EncodeLabelSet for Labels<'_, N> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        self.names
            .iter()
            .zip(self.values)
            .try_for_each(|(name, value)| (*name, &**value).encode(encoder.encode_label()))
    }
}

/// A series of a kind that can be made new.
pub trait Series: Clone {
    /// The first value.
    fn new() -> Self;
}

/// Values that are looked for. Every call counts in several metrics, and to allocate them for each
/// costs more than to count.
#[derive(Hash)]
struct Wanted<'a, const N: usize>([&'a str; N]);

impl<const N: usize> Equivalent<Values<N>> for Wanted<'_, N> {
    fn equivalent(&self, known: &Values<N>) -> bool {
        known.iter().zip(self.0).all(|(known, wanted)| **known == *wanted)
    }
}

/// All series of one metric. The library's `Family` finds a series only by labels that were
/// allocated to look for it.
#[derive(Debug, Clone)]
pub struct Metric<M, const N: usize> {
    names: [&'static str; N],
    series: Arc<RwLock<HashMap<Values<N>, M, RandomState>>>,
}

impl<M: EncodeMetric + TypedMetric, const N: usize> EncodeMetric for Metric<M, N> {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let series = self.series.read().unwrap_or_else(PoisonError::into_inner);
        series.iter().try_for_each(|(values, one)| {
            one.encode(encoder.encode_family(&Labels { names: &self.names, values })?)
        })
    }

    fn metric_type(&self) -> MetricType {
        M::TYPE
    }

    fn is_empty(&self) -> bool {
        self.series.read().unwrap_or_else(PoisonError::into_inner).is_empty()
    }
}

impl<M: Series, const N: usize> Metric<M, N> {
    /// None yet.
    pub fn new(names: [&'static str; N]) -> Self {
        Self { names, series: Arc::default() }
    }

    /// Exports it. The library puts `_total` behind a counter's name by itself.
    pub fn register(&self, registry: &mut Registry, name: &str, help: &str)
    where
        M: EncodeMetric + TypedMetric + fmt::Debug + Send + Sync + 'static,
    {
        let name = match M::TYPE {
            MetricType::Counter => name.strip_suffix("_total").unwrap_or(name),
            _ => name,
        };
        registry.register(name, help, self.clone());
    }

    /// Forgets every series: those that there are now are reported anew.
    pub fn clear(&self) {
        self.series.write().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn of(&self, values: [&str; N]) -> M {
        let series = self.series.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = series.get(&Wanted(values)) {
            return known.clone();
        }
        drop(series);
        let mut series = self.series.write().unwrap_or_else(PoisonError::into_inner);
        let is_one_too_many = series.len() >= SERIES;
        let values = values.map(|value| Box::from(if is_one_too_many { "other" } else { value }));
        // Another thread may have begun it since.
        series.entry(values).or_insert_with(M::new).clone()
    }
}

/// Counts up.
pub type Counter<const N: usize> = Metric<counter::Counter<f64, AtomicU64>, N>;
/// Goes up and down.
pub type Gauge<const N: usize> = Metric<gauge::Gauge<f64, AtomicU64>, N>;
/// How long something took.
pub type Histogram<const N: usize> = Metric<histogram::Histogram, N>;
/// Counts up, under a name that another driver gave it and that is no counter's.
pub type Untyped<const N: usize> = Metric<UntypedCount, N>;

impl<const N: usize> Counter<N> {
    /// Adds to one series.
    pub fn add(&self, values: [&str; N], amount: f64) {
        self.of(values).inc_by(amount.max(0.0));
    }
}

impl<const N: usize> Gauge<N> {
    /// Sets one series.
    pub fn set(&self, values: [&str; N], value: f64) {
        self.of(values).set(value);
    }
}

impl<const N: usize> Histogram<N> {
    /// One more.
    pub fn observe(&self, values: [&str; N], seconds: f64) {
        self.of(values).observe(seconds);
    }
}

impl<const N: usize> Untyped<N> {
    /// One more.
    pub fn count(&self, values: [&str; N]) {
        self.of(values).0.inc();
    }
}

impl Series for counter::Counter<f64, AtomicU64> {
    fn new() -> Self {
        Self::default()
    }
}

impl Series for gauge::Gauge<f64, AtomicU64> {
    fn new() -> Self {
        Self::default()
    }
}

impl Series for histogram::Histogram {
    fn new() -> Self {
        Self::new(BUCKETS)
    }
}

/// A count whose name does not end in `_total`.
#[derive(Debug, Clone, Default)]
pub struct UntypedCount(counter::Counter);

impl Series for UntypedCount {
    fn new() -> Self {
        Self::default()
    }
}

impl TypedMetric for UntypedCount {}

impl EncodeMetric for UntypedCount {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        encoder.encode_gauge(&self.0.get())
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::prometheus_text::encode;

    use super::*;

    fn text(registry: &Registry) -> String {
        let mut text = String::new();
        encode(&mut text, registry).unwrap();
        text
    }

    #[test]
    fn names_are_exported_as_the_table_has_them() {
        let mut registry = Registry::default();
        let (counter, untyped) = (Counter::new(["a"]), Untyped::new(["a"]));
        counter.register(&mut registry, "one_total", "One");
        untyped.register(&mut registry, "two_count", "Two");
        counter.add(["x\"y"], 1.5);
        untyped.count(["z"]);
        let text = text(&registry);
        assert!(text.contains("# TYPE one_total counter\none_total{a=\"x\\\"y\"} 1.5\n"), "{text}");
        assert!(text.contains("# TYPE two_count untyped\ntwo_count{a=\"z\"} 1\n"), "{text}");
    }

    #[test]
    fn series_beyond_the_bound_are_counted_together() {
        let gauge = Gauge::new(["a"]);
        let mut registry = Registry::default();
        gauge.register(&mut registry, "many", "Many");
        for n in 0..SERIES + 5 {
            gauge.set([&n.to_string()], 1.0);
        }
        gauge.set(["0"], 2.0);
        let text = text(&registry);
        assert_eq!(text.lines().filter(|line| line.starts_with("many{")).count(), SERIES + 1);
        assert!(text.contains("many{a=\"0\"} 2.0\n") && text.contains("many{a=\"other\"} 1.0\n"));
    }
}
