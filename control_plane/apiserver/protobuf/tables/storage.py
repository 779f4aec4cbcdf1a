"""Protobuf messages of storage/v1, in the notation of `protobuf.messages`. Numbers never change."""

MESSAGES = """\
CSIDriver
  1 metadata meta.ObjectMeta; 2 spec CSIDriverSpec
CSIDriverSpec
  1 attachRequired *bool; 2 podInfoOnMount *bool; 3 volumeLifecycleModes []string; 4 storageCapacity *bool;
  5 fsGroupPolicy *string; 6 tokenRequests []TokenRequest; 7 requiresRepublish *bool; 8 seLinuxMount *bool;
  9 nodeAllocatableUpdatePeriodSeconds *int64; 10 serviceAccountTokenInSecrets *bool;
  11 preventPodSchedulingIfMissing *bool
CSINode
  1 metadata meta.ObjectMeta; 2 spec CSINodeSpec; 3 status CSINodeStatus
CSINodeDriver
  1 name string; 2 nodeID string; 3 topologyKeys []string; 4 allocatable *VolumeNodeResources
CSINodeSpec
  1 drivers []CSINodeDriver
CSINodeStatus
  1 storageHealth []StorageHealth
CSIStorageCapacity
  1 metadata meta.ObjectMeta; 2 nodeTopology *meta.LabelSelector; 3 storageClassName string; 4 capacity *Quantity;
  5 maximumVolumeSize *Quantity
StorageClass
  1 metadata meta.ObjectMeta; 2 provisioner string; 3 parameters map[string]string; 4 reclaimPolicy *string;
  5 mountOptions []string; 6 allowVolumeExpansion *bool; 7 volumeBindingMode *string;
  8 allowedTopologies []core.TopologySelectorTerm
StorageHealth
  1 name string; 2 healthConditions []StorageHealthCondition
StorageHealthCondition
  1 status string; 2 reason string; 3 message string; 4 accessMode *string; 5 volumeMode *string;
  6 lastTransitionTime Time
TokenRequest
  1 audience string; 2 expirationSeconds *int64
VolumeAttachment
  1 metadata meta.ObjectMeta; 2 spec VolumeAttachmentSpec; 3 status VolumeAttachmentStatus
VolumeAttachmentSource
  1 persistentVolumeName *string; 2 inlineVolumeSpec *core.PersistentVolumeSpec
VolumeAttachmentSpec
  1 attacher string; 2 source VolumeAttachmentSource; 3 nodeName string
VolumeAttachmentStatus
  1 attached bool; 2 attachmentMetadata map[string]string; 3 attachError *VolumeError; 4 detachError *VolumeError
VolumeAttributesClass
  1 metadata meta.ObjectMeta; 2 driverName string; 3 parameters map[string]string
VolumeError
  1 time Time; 2 message string; 3 errorCode *int32
VolumeNodeResources
  1 count *int32
"""
