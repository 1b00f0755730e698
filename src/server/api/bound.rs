//! The places where clients are answered, bound and not yet answered at.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::{TcpListener, UnixListener};

use crate::server::socket::SocketFile;
use crate::server::tls::{Certificate, TlsError};
use crate::settings::ApiSettings;

/// One of them.
pub(super) enum Bound {
    Address(TcpListener, SocketAddr),
    Secure(TcpListener, SocketAddr, Arc<Certificate>),
    Socket(UnixListener, SocketFile),
}

/// Why clients cannot be answered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ApiError {
    /// The address cannot be had.
    #[error("API_LISTEN={address}: {why}")]
    Address {
        /// Which one.
        address: SocketAddr,
        /// In the words of the system.
        why: std::io::Error,
    },
    /// The socket cannot be had.
    #[error("HTTP_SOCKET={path}: {why}")]
    Socket {
        /// Its path.
        path: String,
        /// In the words of the system, or ours.
        why: std::io::Error,
    },
    /// There is no certificate for the address.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A user is not known to this machine.
    #[error("HTTP_SOCKET_USERS: /etc/passwd has no user {name:?}; name a number")]
    UnknownUser {
        /// Whom it named.
        name: String,
    },
}

impl Bound {
    /// All that the settings name.
    pub(super) async fn all(settings: &ApiSettings) -> Result<Vec<Self>, ApiError> {
        let mut listeners = Vec::new();
        if let Some(address) = settings.listen {
            let refused = |why| ApiError::Address { address, why };
            let listener = TcpListener::bind(address).await.map_err(refused)?;
            let address = listener.local_addr().map_err(refused)?;
            listeners.push(match &settings.tls {
                None => Bound::Address(listener, address),
                Some(files) => {
                    Bound::Secure(listener, address, Certificate::read(files.clone()).await?)
                }
            });
        }
        if let Some(path) = &settings.socket {
            let refused = |why| ApiError::Socket { path: path.display().to_string(), why };
            let (listener, file) = SocketFile::bind(path).map_err(refused)?;
            let listener = UnixListener::from_std(listener).map_err(refused)?;
            listeners.push(Bound::Socket(listener, file));
        }
        Ok(listeners)
    }

    /// As people read it: `https://` or `http://` and an address, or `unix:` and a path.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Address(_, address) => format!("http://{address}"),
            Self::Secure(_, address, _) => format!("https://{address}"),
            Self::Socket(_, file) => format!("unix:{}", file.path().display()),
        }
    }
}
