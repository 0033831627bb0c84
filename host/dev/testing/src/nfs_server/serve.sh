# An NFS server whose `/` is $1, in fresh namespaces; the mount protocol is answered at port $2.
# Says `serving`, and ends with its standard input.
ip link set lo up
# Another server than those of other namespaces, also to NFSv4.1, which asks for its name.
hostname "nfs-$$-$(od -An -N4 -tx4 /dev/urandom | tr -d ' ')"
mount --bind "$1" /mnt
# With a list of ports of its own: what ends takes its own off.
mount -t tmpfs run /run
rpcbind
mount -t tmpfs nfs /var/lib/nfs
mkdir -p /var/lib/nfs/sm /var/lib/nfs/v4recovery
touch /var/lib/nfs/etab /var/lib/nfs/rmtab
printf '[exports]\nrootdir=/mnt\n' >/var/lib/nfs/nfs.conf
mount --bind /var/lib/nfs/nfs.conf /etc/nfs.conf
mount -t nfsd nfsd /proc/fs/nfsd
exportfs -o rw,async,no_root_squash,insecure,no_subtree_check,fsid=0 '*:/'
# Clients of an earlier life may reclaim their locks for ten seconds, the least that there is, and
# in a namespace nothing can tell the kernel that there are none: over NFSv4 the first write waits.
rpc.nfsd --host 127.0.0.1 --grace-time 10 --lease-time 10 --no-udp 2 >&2
rpc.mountd --port "$2" >&2
echo serving
exec >&2
read -r _ || true
rpc.nfsd 0
