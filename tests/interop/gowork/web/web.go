// Package web stands in for github.com/gocraft/web, a dependency of gocraft/work's web UI, so that the test program
// builds where that module cannot be had. It has what the web UI calls, written for that, and no more: routes with
// named segments, middleware, and a fresh context for each request.
package web

import (
	"net/http"
	"reflect"
	"strings"
)

// ResponseWriter is what handlers write to.
type ResponseWriter interface {
	http.ResponseWriter
}

// Request is a request and the named segments of its path.
type Request struct {
	*http.Request
	PathParams map[string]string
}

// NextMiddlewareFunc goes on to the next middleware, or to the handler.
type NextMiddlewareFunc func(ResponseWriter, *Request)

type route struct {
	method   string
	segments []string
	handler  reflect.Value
}

// Router is an http.Handler.
type Router struct {
	context    reflect.Type
	middleware []reflect.Value
	routes     []route
	parent     *Router
}

// New makes a router whose handlers and middleware may take a pointer to a struct of ctx's type.
func New(ctx interface{}) *Router {
	return &Router{context: reflect.TypeOf(ctx)}
}

// Subrouter returns a router with the same context and routes.
func (r *Router) Subrouter(interface{}, string) *Router {
	return &Router{context: r.context, parent: r}
}

// Middleware adds a func([*Context,] ResponseWriter, *Request, NextMiddlewareFunc).
func (r *Router) Middleware(fn interface{}) *Router {
	r.middleware = append(r.middleware, reflect.ValueOf(fn))
	return r
}

// Get adds a func(*Context, ResponseWriter, *Request).
func (r *Router) Get(path string, fn interface{}) *Router { return r.add("GET", path, fn) }

// Post adds a func(*Context, ResponseWriter, *Request).
func (r *Router) Post(path string, fn interface{}) *Router { return r.add("POST", path, fn) }

func (r *Router) add(method, path string, fn interface{}) *Router {
	root := r
	for root.parent != nil {
		root = root.parent
	}
	root.routes = append(root.routes, route{method, strings.Split(path, "/"), reflect.ValueOf(fn)})
	return r
}

// ServeHTTP finds the route and runs it within the middleware; there is no other answer than 404 to what has none.
func (r *Router) ServeHTTP(rw http.ResponseWriter, request *http.Request) {
	for _, each := range r.routes {
		params, fits := each.match(request)
		if fits {
			r.run(each.handler, rw, &Request{Request: request, PathParams: params})
			return
		}
	}
	http.NotFound(rw, request)
}

// A segment is literal, or ":name" or ":name:pattern"; the patterns of the web UI ask for a digit first.
func (each route) match(request *http.Request) (map[string]string, bool) {
	parts := strings.Split(request.URL.Path, "/")
	if each.method != request.Method || len(parts) != len(each.segments) {
		return nil, false
	}
	params := map[string]string{}
	for i, segment := range each.segments {
		if !strings.HasPrefix(segment, ":") {
			if segment != parts[i] {
				return nil, false
			}
			continue
		}
		name, pattern, _ := strings.Cut(segment[1:], ":")
		if parts[i] == "" || (pattern != "" && (parts[i][0] < '0' || parts[i][0] > '9')) {
			return nil, false
		}
		params[name] = parts[i]
	}
	return params, true
}

func (r *Router) run(handler reflect.Value, rw ResponseWriter, request *Request) {
	ctx := reflect.New(r.context)
	at := 0
	var next NextMiddlewareFunc
	next = func(rw ResponseWriter, request *Request) {
		if at == len(r.middleware) {
			r.call(handler, ctx, rw, request)
			return
		}
		at++
		r.call(r.middleware[at-1], ctx, rw, request, next)
	}
	next(rw, request)
}

func (r *Router) call(fn, ctx reflect.Value, args ...interface{}) {
	var given []reflect.Value
	if fn.Type().NumIn() > len(args) {
		given = append(given, ctx)
	}
	for _, arg := range args {
		given = append(given, reflect.ValueOf(arg))
	}
	fn.Call(given)
}
