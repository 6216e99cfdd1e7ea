{{- define "sealwire.name" -}}
{{- default (ternary .Release.Name (printf "%s-sealwire" .Release.Name) (contains "sealwire" .Release.Name)) .Values.nameOverride | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{- define "sealwire.selector" -}}
app.kubernetes.io/name: sealwire
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "sealwire.labels" -}}
{{ include "sealwire.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "sealwire.image" -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end -}}

{{- define "sealwire.kind" -}}
{{ ternary "StatefulSet" "Deployment" .Values.audit.enabled }}
{{- end -}}

{{- define "sealwire.restricted" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: ["ALL"]}
{{- end -}}

{{/* The ports that the proxy listens on, as a JSON list: 27017, or that of each entry of config.members. */}}
{{- define "sealwire.ports" -}}
{{- $ports := list -}}
{{- range .Values.config.members -}}
{{- $ports = append $ports (regexFind "[0-9]+$" .listen | int) -}}
{{- end -}}
{{- toJson (default (list 27017) $ports) -}}
{{- end -}}

{{/* sealwire.yaml: what the chart knows, and over it what `config` says. */}}
{{- define "sealwire.config" -}}
{{- $service := printf "%s.%s.svc.cluster.local:%v" (include "sealwire.name" .) .Release.Namespace .Values.service.port -}}
{{- $tls := dict "certificate" "/run/tls/tls.crt" "key" "/run/tls/tls.key" -}}
{{- $listen := dict "address" "0.0.0.0:27017" "advertise" (default $service .Values.advertise) "tls" $tls -}}
{{- $upstream := dict "tls" (dict "mode" "tls") -}}
{{- if not .Values.config.members -}}
{{- $_ := set $upstream "address" (required "upstream.address is required" .Values.upstream.address) -}}
{{- else -}}
{{- $listen = dict "tls" $tls -}}
{{- end -}}
{{- with .Values.upstream.caConfigMap -}}
{{- $_ := set $upstream "tls" (dict "ca" "/run/mongo-ca/ca.crt") -}}
{{- end -}}
{{- $config := dict "listen" $listen "upstream" $upstream "policy" "/etc/sealwire/policy.yaml" "keyring" "/run/keys/keyring.json" "kek" (dict "provider" "environment") "admin" (dict "address" "0.0.0.0:9464") "log" (dict "format" "json") "limits" (dict "drain_s" (int .Values.drainSeconds)) -}}
{{- if .Values.audit.enabled -}}
{{- $_ := set $config "audit" (dict "path" "/var/log/sealwire/audit.jsonl" "key" "/run/keys/audit.key") -}}
{{- end -}}
{{- toYaml (mergeOverwrite $config (deepCopy .Values.config)) -}}
{{- end -}}

{{- define "sealwire.policy" -}}
{{- required "policy is required: --set-file policy=policy.yaml" .Values.policy -}}
{{- end -}}

{{- define "sealwire.alerts" -}}
{{- $audit := dict "path" "/var/log/sealwire/audit.jsonl" "key" "/etc/sealwire/audit.key.pub" -}}
{{- $alerts := dict "version" 1 "audit" $audit "state" "/var/lib/sealwire-watch/watch.sqlite" -}}
{{- with .Values.audit.watch.rules }}{{- $_ := set $alerts "rules" . }}{{- end -}}
{{- with .Values.audit.watch.tell }}{{- $_ := set $alerts "tell" . }}{{- end -}}
{{- toYaml $alerts -}}
{{- end -}}
