"""Wire messages, generated from proto/ by `make proto`; never edited.

They live in a descriptor pool of their own: a second etcd or CRI client in the same process must not clash.
"""

from google.protobuf import descriptor_pool

POOL = descriptor_pool.DescriptorPool()
