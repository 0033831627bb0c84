#!/bin/sh
# Makes a machine with an NFS server and client, runs one command in it, and powers it off. Run by
# `nfs_machine.rs` as the first process of a second kernel (`uml`), or in fresh namespaces of this
# one (`here`). The environment says:
#   machine   uml or here
#   scratch   directory of the outside with `command` (to run); `status` (its exit code) is left
# there
#   limit     seconds until it is powered off whatever happens
# Everything but `scratch` is read-only, in memory, or a view of the kernel.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

power_off() {
    if [ "$machine" = uml ]; then sync; echo o >/proc/sysrq-trigger; sleep 60; fi
    rpc.nfsd 0
    # All but the first process and this one; with the first one the namespace ends.
    kill -9 -1
    exit
}
fail() { echo "the NFS machine did not come up: $*" >&2; power_off; }

# The root becomes a directory in memory that shows the outside's directories, each read-only.
mount -t tmpfs root /mnt || fail "no file system in memory on /mnt"
for path in /*; do
    case $path in /proc | /sys | /run | /mnt | /export) mkdir "/mnt$path"; continue ;; esac
    if [ -h "$path" ]; then cp -d "$path" "/mnt$path"; continue; fi
    [ -d "$path" ] || continue
    mkdir "/mnt$path" && mount --rbind "$path" "/mnt$path" || fail "cannot show $path"
    [ "$path" = /dev ] || mount -o remount,bind,ro "/mnt$path" || fail "cannot protect $path"
done
cd /mnt && mkdir .old || fail "no root"
if [ "$machine" = uml ]; then
    mkdir .scratch && mount -t hostfs none .scratch -o "$scratch" || fail "cannot show $scratch"
else
    mkdir .scratch && mount --bind "$scratch" .scratch || fail "cannot show $scratch"
fi
pivot_root . .old && cd / || fail "cannot change the root"
mount -t proc proc /proc && mount -t sysfs sys /sys && mount -t tmpfs run /run || fail "no /proc"
umount -l /.old && rmdir /.old || fail "the old root stays"
mkdir -m 1777 /run/tmp && mkdir -p /run/lock /export || fail "no /run"

# Nobody waits any more, or for too long.
(sleep "$limit"; echo "stopped after $limit s" >&2; power_off) &
if [ "$machine" = uml ]; then
    (read -r _ </dev/tty2; power_off) &
    stty -F /dev/tty1 -opost
    exec 3>/dev/tty1
else
    exec 3>&1 4<&0
    (read -r _ <&4; power_off) &
fi

load() { modprobe --quiet "$1"; }
if [ "$machine" = uml ]; then
    mkdir -p /run/kernel/lib/modules
    ln -s "/usr/lib/uml/modules/$(uname -r)" /run/kernel/lib/modules/
    printf '#!/bin/sh\nexec modprobe -d /run/kernel "$@"\n' >/run/modprobe
    chmod +x /run/modprobe && echo /run/modprobe >/proc/sys/kernel/modprobe
    load() { /run/modprobe "$1" || fail "no kernel module $1"; }
fi
for module in nfsd nfsv3 nfsv4 fuse loop; do load "$module"; done

ip link set lo up || fail "no loopback"
mount -t tmpfs nfs /var/lib/nfs || fail "no directory for the server's state"
mkdir -p /var/lib/nfs/sm /var/lib/nfs/v4recovery
touch /var/lib/nfs/etab /var/lib/nfs/rmtab
mount -t nfsd nfsd /proc/fs/nfsd || fail "no nfsd"
rpcbind || fail "no rpcbind"
# On one address, so that others stay free for what stands between a client and the server.
rpc.nfsd --host 127.0.0.1 --grace-time 10 --lease-time 10 --no-udp 8 || fail "no nfsd threads"
# Clients of an earlier life may reclaim their locks for a while; there are none.
echo Y >/proc/fs/nfsd/v4_end_grace
rpc.mountd --port 20048 || fail "no mountd"

# Through a pipe: a program that sees a terminal colours what it says. What it left running may hold
# the pipe, so the end of the pipe is not waited for.
mkfifo /run/said || fail "no pipe"
cat /run/said >&3 &
/bin/sh /.scratch/command >/run/said 2>&1 3>&- </dev/null
echo $? >/.scratch/status
sleep 0.2
power_off
