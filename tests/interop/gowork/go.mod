module asyncwork/gowork

go 1.19

require (
	github.com/gocraft/work v0.5.1
	github.com/gomodule/redigo v1.9.3
	github.com/robfig/cron v1.2.0
)

require (
	github.com/braintree/manners v0.0.0-20150503212558-0b5e6b2c2843 // indirect
	github.com/gocraft/web v0.0.0 // indirect
)

replace github.com/gocraft/web => ./web
