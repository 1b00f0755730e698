//! TLS at the address where clients are answered. Its certificate is read at the start, and again
//! whenever one of its files changes, so that a renewal ends no connection.

use std::convert::Infallible;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{MissedTickBehavior, interval};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use zeroize::Zeroizing;

use super::connections::{Listener, Peer};
use crate::settings::{FileStamp, TlsFiles};

/// A listener each of whose connections begins with a handshake.
pub(super) struct TlsListener {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

/// The certificate that new connections get.
pub(super) struct Certificate {
    files: TlsFiles,
    current: ArcSwap<CertifiedKey>,
    /// How the files were when they were last read.
    stamps: Mutex<Stamps>,
}

/// Of the certificate and of the key.
type Stamps = [Option<FileStamp>; 2];

/// Why there is no certificate. No message holds anything of the files.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{name}={path}: {why}")]
    File {
        /// The setting that names it.
        name: &'static str,
        /// Its path.
        path: String,
        /// In the words of the system.
        why: io::Error,
    },
    /// A file holds something else.
    #[error("{name}={path} holds no {wanted} in PEM")]
    NotPem {
        /// The setting that names it.
        name: &'static str,
        /// Its path.
        path: String,
        /// What it must hold.
        wanted: &'static str,
    },
    /// The two do not belong together, or are of a kind that is not supported.
    #[error("HTTP_TLS_CERT and HTTP_TLS_KEY: {0}")]
    Refused(rustls::Error),
}

impl Certificate {
    /// Reads both files.
    pub(super) async fn read(files: TlsFiles) -> Result<Arc<Self>, TlsError> {
        let stamps = Mutex::new(stamps(&files));
        let current = ArcSwap::from_pointee(certificate(&files).await?);
        Ok(Arc::new(Self { files, current, stamps }))
    }

    /// Takes what the files hold whenever they change, for as long as it is polled. What cannot be
    /// used leaves the certificate as it is, and is told once.
    pub(super) async fn keep(&self) -> Infallible {
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            look.tick().await;
            if self.has_changed() {
                match certificate(&self.files).await {
                    Ok(read) => {
                        self.current.store(Arc::new(read));
                        tracing::info!("the TLS certificate was read anew");
                    }
                    Err(error) => tracing::warn!(%error, "the TLS certificate stays as it was"),
                }
            }
        }
    }

    /// Whether the files are others than when this was last asked.
    fn has_changed(&self) -> bool {
        let now = stamps(&self.files);
        let mut before = self.stamps.lock().unwrap_or_else(PoisonError::into_inner);
        let has_changed = *before != now;
        *before = now;
        has_changed
    }
}

impl std::fmt::Debug for Certificate {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Certificate").field("files", &self.files).finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }
}

fn stamps(files: &TlsFiles) -> Stamps {
    [&files.cert, &files.key].map(|path| FileStamp::now(path))
}

/// The certificate with those that vouch for it, and its key.
async fn certificate(files: &TlsFiles) -> Result<CertifiedKey, TlsError> {
    let text = read(CERT, &files.cert).await?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let chain = chain.ok().filter(|chain| !chain.is_empty());
    let chain = chain.ok_or_else(|| no_pem(CERT, &files.cert, "certificate"))?;
    let text = read(KEY, &files.key).await?;
    let key = PrivateKeyDer::from_pem_slice(&text);
    let key = key.map_err(|_| no_pem(KEY, &files.key, "private key"))?;
    CertifiedKey::from_der(chain, key, &provider()).map_err(TlsError::Refused)
}

async fn read(name: &'static str, path: &Path) -> Result<Zeroizing<Vec<u8>>, TlsError> {
    let unread = |why| TlsError::File { name, path: path.display().to_string(), why };
    tokio::fs::read(path).await.map(Zeroizing::new).map_err(unread)
}

fn no_pem(name: &'static str, path: &Path, wanted: &'static str) -> TlsError {
    TlsError::NotPem { name, path: path.display().to_string(), wanted }
}

impl TlsListener {
    /// Answers at this listener, which is bound, by this certificate.
    pub(super) fn new(listener: TcpListener, certificate: Arc<Certificate>) -> Self {
        let config = ServerConfig::builder_with_provider(provider().into())
            .with_safe_default_protocol_versions()
            .expect("ring supports TLS 1.2 and 1.3");
        let mut config = config.with_no_client_auth().with_cert_resolver(certificate);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Self { listener, acceptor: TlsAcceptor::from(Arc::new(config)) }
    }
}

impl Listener for TlsListener {
    type Accepted = TcpStream;
    type Stream = TlsStream<TcpStream>;

    async fn next(&self) -> io::Result<(TcpStream, Peer)> {
        self.listener.next().await
    }

    fn open(
        &self,
        stream: TcpStream,
    ) -> impl Future<Output = io::Result<TlsStream<TcpStream>>> + 'static {
        self.acceptor.accept(stream)
    }
}

fn provider() -> CryptoProvider {
    ring::default_provider()
}

const CERT: &str = "HTTP_TLS_CERT";
const KEY: &str = "HTTP_TLS_KEY";
/// How often it is looked whether the files have changed.
const LOOK: Duration = Duration::from_secs(5);
