//! Where logs and traces go: logs to stderr, traces to a collector where one is named.

use std::io::IsTerminal;

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt};
use trunkline::settings::{ValueOrigin, Values};

use super::plain::{Form, Log};

/// Ends what sends traces, so that the last of them are sent.
pub(super) struct Traces(
    #[cfg(feature = "otel")] Option<opentelemetry_sdk::trace::SdkTracerProvider>,
);

/// Begins to log and to trace. With `quiet`, as for a command that has words of its own, nothing is
/// logged unless `RUST_LOG` asks for it. `json` has lines of JSON, whatever `LOG_FORMAT` says.
///
/// A collector that cannot be had is no reason to do nothing: it is said, and nothing is traced.
pub(super) fn begin(values: &Values, quiet: bool, json: bool) -> Traces {
    let asked = values.origin("RUST_LOG") != ValueOrigin::Default;
    let level = if quiet && !asked { "off" } else { values.get("RUST_LOG").unwrap_or("info") };
    let (json, coloured) =
        (json || values.get("LOG_FORMAT") == Some("json"), std::io::stderr().is_terminal());
    let form = if json { Form::Json } else { Form::Words };
    let lines = fmt::layer()
        .with_writer(move || Log { to: std::io::stderr(), form, coloured: coloured && !json })
        .with_ansi(coloured)
        .with_target(false);
    let lines = if json { lines.json().boxed() } else { lines.boxed() };
    // What reads destinations would log them, whole.
    let filter = EnvFilter::builder().parse_lossy(format!("{level},rlibphonenumber=off"));
    let lines = lines.with_filter(filter);
    let registry = tracing_subscriber::registry().with(lines);
    #[cfg(feature = "otel")]
    {
        let provider = collector::provider(values);
        let wrong = provider.as_ref().err().filter(|_| !quiet);
        if let Some(why) = wrong {
            eprintln!("warning: nothing is traced: OTEL_EXPORTER_OTLP_ENDPOINT {why}");
        }
        let provider = provider.ok().flatten();
        registry.with(provider.as_ref().map(collector::layer)).init();
        Traces(provider)
    }
    #[cfg(not(feature = "otel"))]
    {
        registry.init();
        Traces()
    }
}

impl Drop for Traces {
    fn drop(&mut self) {
        #[cfg(feature = "otel")]
        if let Some(provider) = self.0.take()
            && let Err(error) = provider.shutdown_with_timeout(PATIENCE)
        {
            eprintln!("warning: the last traces were not sent: {error}");
        }
    }
}

/// How long the last traces may take on their way.
#[cfg(feature = "otel")]
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(1);

#[cfg(feature = "otel")]
mod collector {
    use opentelemetry::trace::TracerProvider;
    use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithHttpConfig};
    use opentelemetry_sdk::Resource;
    use opentelemetry_sdk::trace::SdkTracerProvider;
    use tracing::Subscriber;
    use tracing_subscriber::registry::LookupSpan;
    use tracing_subscriber::{EnvFilter, Layer};
    use trunkline::settings::Values;

    /// What sends spans to the collector that `OTEL_EXPORTER_OTLP_ENDPOINT` names, if it names one;
    /// or why not, without the value, which may hold a password.
    pub(super) fn provider(values: &Values) -> Result<Option<SdkTracerProvider>, &'static str> {
        let Some(endpoint) = values.get("OTEL_EXPORTER_OTLP_ENDPOINT") else { return Ok(None) };
        if !endpoint.starts_with("http://") && !endpoint.starts_with("https://") {
            return Err(NO_URL);
        }
        let client = reqwest::blocking::Client::builder()
            .tls_backend_preconfigured(trunkline::dispatch::livekit::tls())
            .build()
            .map_err(|_| "cannot be reached: no HTTP client")?;
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(client)
            .with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')))
            .build()
            .map_err(|_| NO_URL)?;
        let resource = Resource::builder().with_service_name("trunkline").build();
        let provider =
            SdkTracerProvider::builder().with_resource(resource).with_batch_exporter(exporter);
        Ok(Some(provider.build()))
    }

    /// Gives it the spans of this crate, whatever is logged.
    pub(super) fn layer<S>(provider: &SdkTracerProvider) -> impl Layer<S> + use<S>
    where
        S: Subscriber + for<'span> LookupSpan<'span>,
    {
        tracing_opentelemetry::layer()
            .with_tracer(provider.tracer("trunkline"))
            .with_filter(EnvFilter::new("off,trunkline=debug"))
    }

    const NO_URL: &str = "is no http:// or https:// URL, such as http://127.0.0.1:4318";
}
