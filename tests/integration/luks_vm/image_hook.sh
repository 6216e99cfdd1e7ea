#!/bin/sh
# Run by mmdebstrap on the finished root: what the test needs in it, and what only costs time under emulation off.
set -eu
root=$1
echo luks-vm > "$root/etc/hostname"
echo uninitialized > "$root/etc/machine-id"
chroot "$root" passwd -d root > /dev/null
mkdir -p "$root/payload"
for unit in systemd-networkd.service systemd-resolved.service systemd-timesyncd.service systemd-firstboot.service \
    getty@tty1.service serial-getty@ttyS0.service console-getty.service systemd-journal-flush.service \
    apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service \
    fstrim.timer ldconfig.service systemd-hwdb-update.service systemd-pcrphase.service systemd-pcrextend.socket; do
    ln -sf /dev/null "$root/etc/systemd/system/$unit"
done
# A unit that does not stop must not hold up the power-off for the usual 90 seconds.
mkdir -p "$root/etc/systemd/system.conf.d"
printf '[Manager]\nDefaultTimeoutStopSec=20s\n' > "$root/etc/systemd/system.conf.d/test.conf"
cat > "$root/etc/systemd/system/luks-test.target" << 'UNIT'
[Unit]
Description=a boot of the LUKS test
Requires=multi-user.target
Wants=luks-test.service
After=multi-user.target
AllowIsolate=yes
UNIT
cat > "$root/etc/systemd/system/luks-test.service" << 'UNIT'
[Unit]
Description=the stage of the LUKS test that the kernel command line names
After=multi-user.target
Conflicts=shutdown.target
[Service]
Type=oneshot
TimeoutStartSec=900
StandardOutput=tty
StandardError=tty
TTYPath=/dev/ttyS1
ExecStart=/usr/local/sbin/luks-test
UNIT
cat > "$root/usr/local/sbin/luks-test" << 'SCRIPT'
#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8
stage=$(sed -n 's/.*luks_test=\([a-z]*\).*/\1/p' /proc/cmdline)
n=0; until [ -e /dev/disk/by-id/virtio-payload ] || [ $n -ge 120 ]; do n=$((n + 1)); sleep 0.5; done
udevadm settle --timeout=30
mount /dev/disk/by-id/virtio-payload /payload
PYTHONPATH=/payload/site python3 /payload/guest/stage.py "$stage"
echo "@@end $stage $? $(cut -d' ' -f1 /proc/uptime)"
journalctl -b --no-pager -o short-monotonic > "/payload/journal-$stage.txt" 2>&1
sync
umount /payload
# Not `systemctl poweroff`: that asks logind over D-Bus, which is not here.
systemctl --no-block start poweroff.target
SCRIPT
chmod 755 "$root/usr/local/sbin/luks-test"
