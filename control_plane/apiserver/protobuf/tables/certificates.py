"""Protobuf messages of certificates/v1, in the notation of `protobuf.messages`. Numbers never change."""

MESSAGES = """\
CertificateSigningRequest
  1 metadata meta.ObjectMeta; 2 spec CertificateSigningRequestSpec; 3 status CertificateSigningRequestStatus
CertificateSigningRequestCondition
  1 type string; 2 reason string; 3 message string; 4 lastUpdateTime Time; 5 lastTransitionTime Time;
  6 status string
CertificateSigningRequestSpec
  1 request bytes; 2 username string; 3 uid string; 4 groups []string; 5 usages []string;
  6 extra map[string]Strings; 7 signerName string; 8 expirationSeconds *int32
CertificateSigningRequestStatus
  1 conditions []CertificateSigningRequestCondition; 2 certificate bytes
ClusterTrustBundle
  1 metadata meta.ObjectMeta; 2 spec ClusterTrustBundleSpec
ClusterTrustBundleSpec
  1 signerName string; 2 trustBundle string
PodCertificateRequest
  1 metadata meta.ObjectMeta; 2 spec PodCertificateRequestSpec; 3 status PodCertificateRequestStatus
PodCertificateRequestSpec
  1 signerName string; 2 podName string; 3 podUID string; 4 serviceAccountName string; 5 serviceAccountUID string;
  6 nodeName string; 7 nodeUID string; 8 maxExpirationSeconds *int32;
  11 unverifiedUserAnnotations map[string]string; 12 stubPKCS10Request bytes
PodCertificateRequestStatus
  1 conditions []meta.Condition; 2 certificateChain string; 4 notBefore *Time; 5 beginRefreshAt *Time;
  6 notAfter *Time
"""
