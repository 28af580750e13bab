//! Lists multipart uploads that were begun and not finished (`ListMultipartUploads`), which the crate cannot: a signed URL
//! and a little XML.

use std::time::Duration;

use async_trait::async_trait;
use object_store::ClientOptions;
use object_store::aws::AmazonS3;
use object_store::client::{HttpClient, HttpConnector as _, HttpRequest, HttpRequestBody, ReqwestConnector};
use object_store::path::Path;
use object_store::signer::{Method, SignedUrlOptions, Signer as _};
use serde::Deserialize;

use crate::storage::object::{FindUnfinished, Unfinished, UnfinishedPage, unusable};
use crate::{Error, ErrorKind, Result};

/// How long a signed URL is good for. It is used at once.
const VALID: Duration = Duration::from_secs(300);

/// See the module.
#[derive(Debug)]
pub(super) struct S3Unfinished {
    signer: AmazonS3,
    http: HttpClient,
    place: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listing {
    #[serde(default)]
    is_truncated: bool,
    next_key_marker: Option<String>,
    next_upload_id_marker: Option<String>,
    #[serde(default, rename = "Upload")]
    uploads: Vec<Upload>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Upload {
    key: String,
    upload_id: String,
    initiated: String,
}

impl S3Unfinished {
    pub(super) fn new(signer: AmazonS3, options: &ClientOptions, place: &str) -> Result<Self> {
        let http = ReqwestConnector::default().connect(options).map_err(|error| unusable(place, &error))?;
        Ok(Self { signer, http, place: place.to_owned() })
    }

    fn failed(&self, kind: ErrorKind, why: impl std::fmt::Display) -> Error {
        Error::new(kind, format!("cannot list the unfinished uploads of {}: {why}", self.place))
    }

    async fn fetch(&self, folder: &str, after: Option<&Unfinished>) -> Result<String> {
        let mut query = vec![("uploads", ""), ("prefix", folder)];
        if let Some(after) = after {
            query.push(("key-marker", &after.key));
            query.push(("upload-id-marker", &after.upload_id));
        }
        let options = SignedUrlOptions::new().with_query(query);
        let url = self.signer.signed_url_opts(Method::GET, &Path::default(), VALID, &options).await;
        let url = url.map_err(|error| self.failed(ErrorKind::Credentials, error))?;
        let mut request = HttpRequest::new(HttpRequestBody::empty());
        *request.uri_mut() =
            url.as_str().parse().map_err(|error| self.failed(ErrorKind::Permanent, error))?;
        // The URL is a credential, so neither it nor an error that holds it is shown.
        let answer =
            self.http.execute(request).await.map_err(|_| self.failed(ErrorKind::Retry, "no answer"))?;
        let status = answer.status();
        let body = answer.into_body().bytes().await.map_err(|error| self.failed(ErrorKind::Retry, error))?;
        let body = String::from_utf8_lossy(&body).into_owned();
        if status.is_success() {
            return Ok(body);
        }
        let kind = match status.as_u16() {
            401 | 403 => ErrorKind::Credentials,
            429 | 500..=599 => ErrorKind::Retry,
            _ => ErrorKind::Permanent,
        };
        let code = body
            .split_once("<Code>")
            .and_then(|(_, rest)| rest.split_once("</Code>"))
            .map_or("", |(code, _)| code);
        Err(self.failed(kind, format!("{status} {code}")))
    }
}

#[async_trait]
impl FindUnfinished for S3Unfinished {
    async fn page(&self, folder: &str, after: Option<&Unfinished>) -> Result<UnfinishedPage> {
        let text = self.fetch(folder, after).await?;
        let listing: Listing =
            quick_xml::de::from_str(&text).map_err(|error| self.failed(ErrorKind::Permanent, error))?;
        let next = match (listing.is_truncated, listing.next_key_marker) {
            (true, Some(key)) => {
                let upload_id = listing.next_upload_id_marker.unwrap_or_default();
                Some(Unfinished { key, upload_id, begun_ms: 0 })
            }
            _ => None,
        };
        let uploads = listing.uploads.into_iter().map(|upload| {
            let begun_ms = millis(&upload.initiated).ok_or_else(|| {
                self.failed(ErrorKind::Permanent, format!("{:?} is no time", upload.initiated))
            })?;
            Ok(Unfinished { key: upload.key, upload_id: upload.upload_id, begun_ms })
        });
        Ok((uploads.collect::<Result<_>>()?, next))
    }
}

/// Milliseconds since 1970 of a time as S3 writes it: `2026-01-31T12:34:56.789Z`, fraction optional.
fn millis(text: &str) -> Option<i64> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let mut date = date.splitn(3, '-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let (clock, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let mut clock = clock.splitn(3, ':').map(|part| part.parse::<i64>().ok());
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    let in_range = (1970..=9999).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
    if !in_range || !(0..24).contains(&hour) || !(0..60).contains(&minute) || !(0..=60).contains(&second) {
        return None;
    }
    let fraction: i64 = format!("{fraction:0<3}").get(..3)?.parse().ok()?;
    // Days since 1970 in the Gregorian calendar, with years that begin in March so that the leap day comes last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468;
    Some((((days * 24 + hour) * 60 + minute) * 60 + second) * 1000 + fraction)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_to_the_millisecond() {
        assert_eq!(millis("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(millis("2000-02-29T12:00:00.5Z"), Some(951_825_600_500));
        assert_eq!(millis("2026-07-31T23:59:59.999Z"), Some(1_785_542_399_999));
        assert_eq!(millis("2026-07-31T23:59:59.999123456Z"), Some(1_785_542_399_999));
        for bad in [
            "",
            "2026-07-31",
            "2026-13-01T00:00:00Z",
            "2026-07-31T23:59:59",
            "x-y-zT1:2:3Z",
            "2026-01-01T00:00:00.äZ",
        ] {
            assert_eq!(millis(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_listing_is_read_with_and_without_uploads() {
        let text = "<?xml version=\"1.0\"?><ListMultipartUploadsResult><Bucket>b</Bucket><IsTruncated>true</IsTruncated>\
            <NextKeyMarker>k</NextKeyMarker><NextUploadIdMarker>u</NextUploadIdMarker>\
            <Upload><Key>a</Key><UploadId>1</UploadId><Initiator><ID>x</ID></Initiator><Initiated>2026-01-01T00:00:00Z</Initiated></Upload>\
            <Upload><Key>b</Key><UploadId>2</UploadId><Initiated>2026-01-01T00:00:00Z</Initiated></Upload></ListMultipartUploadsResult>";
        let listing: Listing = quick_xml::de::from_str(text).unwrap();
        assert_eq!(listing.uploads.len(), 2);
        assert_eq!(listing.next_key_marker.as_deref(), Some("k"));
        let empty: Listing = quick_xml::de::from_str("<R><IsTruncated>false</IsTruncated></R>").unwrap();
        assert!(empty.uploads.is_empty() && !empty.is_truncated);
    }
}
