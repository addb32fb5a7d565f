//! Files of root certificates that somebody trusts besides the system's, and what is wrong with one, by its name.

use std::io;
use std::path::Path;

use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

/// The bytes of a file of root certificates, whatever they are.
///
/// # Errors
/// Why it cannot be read, and the way out.
pub(crate) fn read(file: &Path) -> Result<Vec<u8>, String> {
    let shown = file.display();
    std::fs::read(file).map_err(|error| {
        let kind = error.kind();
        if kind == io::ErrorKind::NotFound {
            format!("there is no file {shown}: name a PEM file of root certificates")
        } else if kind == io::ErrorKind::PermissionDenied {
            format!("{shown} may not be read by this user: let this one read it, or run this as one that may")
        } else if kind == io::ErrorKind::IsADirectory {
            format!("{shown} is a directory: name a PEM file of root certificates")
        } else {
            format!("{shown} cannot be read: {error}")
        }
    })
}

/// What is wrong with the certificates in a file, and the way out.
pub(crate) fn unusable(file: &Path, what: &str) -> String {
    format!(
        "{}: {what}; name a file of root certificates in PEM, each from BEGIN CERTIFICATE to END CERTIFICATE",
        file.display()
    )
}

/// Adds the certificates of a file to those that are trusted.
///
/// # Errors
/// What is wrong with it, and the way out.
pub(crate) fn add(file: &Path, roots: &mut RootCertStore) -> Result<(), String> {
    let (pem, before) = (read(file)?, roots.len());
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let added = certificate.map_err(|error| error.to_string());
        let added = added.and_then(|certificate| roots.add(certificate).map_err(|error| error.to_string()));
        added.map_err(|error| unusable(file, &format!("a certificate in it cannot be used ({error})")))?;
    }
    if roots.len() == before { Err(unusable(file, "it holds no certificate in PEM")) } else { Ok(()) }
}
